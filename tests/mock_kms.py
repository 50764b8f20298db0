"""A server that answers as AWS KMS does: moto, over HTTP, with what it leaves out.

No real KMS runs here. Moto encrypts for real, and binds ciphertexts to their key and context. But
it lets disabled keys be used, so the states of a key are enforced here, as "Key states of AWS KMS
keys" in the AWS KMS Developer Guide has them; and not all that KMS does by a key's ARN moto does.
"""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import JsonRESTError
from moto.kms.models import Key, KmsBackend, kms_backends
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    # Nothing of the machine's own counts.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}
NEEDS_ENABLED = ("generate_data_key", "decrypt")
REFUSES_PENDING = (*NEEDS_ENABLED, "disable_key", "schedule_key_deletion")


class MockKms:
    """The server, what it was asked, and what it is to answer next.

    Attributes:
        address: Where it listens.
        calls: How many of each operation it was asked for.
        failures: With what the next calls are answered, the first one first; None: as they should.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.calls: Counter[str] = Counter()
        self.failures: list[JsonRESTError | None] = []

    def forget(self) -> None:
        """Lose all keys, and what was asked."""
        kms_backends[DEFAULT_ACCOUNT_ID][REGION].reset()
        self.calls.clear()
        self.failures.clear()

    def key_states(self) -> list[str]:
        """Return the state of each key, sorted."""
        keys = kms_backends[DEFAULT_ACCOUNT_ID][REGION].keys.values()
        return sorted(key.key_state for key in keys)

    def client(self) -> Any:
        """Return a client of an administrator."""
        return boto3.client("kms", region_name=REGION, endpoint_url=self.address)

    def obeyed(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return an operation of moto's that counts, fails on request and minds a key's state."""

        def checked(backend: KmsBackend, *args: Any, **kwargs: Any) -> Any:
            self.calls[operation] += 1
            failure = self.failures.pop(0) if self.failures else None
            if failure:
                raise failure
            if operation in REFUSES_PENDING:
                given = signature(call).bind(backend, *args, **kwargs)
                key = backend.keys[backend.any_id_to_key_id(given.arguments["key_id"])]
                refuse_unusable(key, operation)
                given.arguments["key_id"] = key.id
                return call(*given.args, **given.kwargs)
            return call(backend, *args, **kwargs)

        return checked


def refuse_unusable(key: Key, operation: str) -> None:
    """Refuse what KMS refuses of a key that is disabled or waits for its deletion."""
    if key.key_state == "PendingDeletion":
        raise JsonRESTError("KMSInvalidStateException", f"{key.arn} is pending deletion.")
    if key.key_state == "Disabled" and operation in NEEDS_ENABLED:
        raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")


class UnwellError(JsonRESTError):
    """What a KMS answers that is not well."""

    code = 500

    def __init__(self) -> None:
        super().__init__("KMSInternalException", "not now")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def running_kms() -> Iterator[MockKms]:
    """Run a mock KMS."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    kms = MockKms(f"http://{host}:{port}")
    with pytest.MonkeyPatch.context() as patch:
        for operation in ("create_key", *REFUSES_PENDING):
            moto = getattr(KmsBackend, operation)
            patch.setattr(KmsBackend, operation, kms.obeyed(operation, moto))
        yield kms
    server.stop()


@contextmanager
def silent_server() -> Iterator[str]:
    """Listen, take connections and never say a word; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"

"""AWS KMS: a key for each customer, which never leaves it, and data keys wrapped by that key.

Credentials are found as all of AWS's tools find them: environment, profile, role of the machine.
What the API promises is in the AWS Key Management Service API Reference.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from lakehouse.privacy.keys import KEY_BYTES, KeyStoreError
from lakehouse.resilience import retrying
from lakehouse.settings import Settings

# A call takes some ten milliseconds.
CONNECT_SECONDS, READ_SECONDS = 2.0, 5.0
# Beyond it a producer had better stop and tell.
BUDGET_SECONDS = 20.0
# Tells our keys from others, in the key policies of an account and on its bill.
TAG = {"TagKey": "lakehouse", "TagValue": "customer-key"}

_SERVER_ERROR = 500


class KmsUnavailableError(KeyStoreError):
    """The KMS does not answer, or not now."""


class KmsKeyUnusableError(KeyStoreError):
    """A KMS key is disabled, or waits for its deletion."""


class KmsKeyMissingError(KeyStoreError):
    """The KMS knows no such key: it was deleted, or was made a moment ago."""


_BY_CODE: Mapping[str, type[KeyStoreError]] = {
    "ThrottlingException": KmsUnavailableError,
    "DisabledException": KmsKeyUnusableError,
    # Of the states that this may mean, keys like ours can only be in that of waiting for deletion.
    "KMSInvalidStateException": KmsKeyUnusableError,
    "NotFoundException": KmsKeyMissingError,
}


class Kms:
    """The calls that the key store makes, tried again within a budget.

    A key that was just made may be unknown to some of the KMS's servers for a moment (its API is
    eventually consistent), so a missing key is tried again too. Any call raises KeyStoreError.
    """

    def __init__(self, client: Any, deletion_days: int) -> None:
        """Use a boto3 client; keys that are destroyed are deleted after some days, 7 to 30."""
        self._client = client
        self._deletion_days = deletion_days

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the KMS that the settings name.

        Raises:
            KeyStoreError: The machine's configuration of AWS is not usable.
        """
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},  # the policy is ours
        )
        # Lower than that it logs answers whole, and there are keys in them.
        logging.getLogger("botocore.parsers").setLevel(logging.INFO)
        region, endpoint = settings.kms_region, settings.kms_endpoint
        try:
            client = Session().client(
                "kms", region_name=region, endpoint_url=endpoint, config=config
            )
        except BotoCoreError as error:
            raise KeyStoreError(f"KMS in {region}: {error}") from error
        return cls(client, settings.kms_deletion_days)

    def make_key(self, customer_id: str) -> str:
        """Make a KMS key for a customer; return its ARN.

        Should the answer be lost on the way, the key that was made is not known to anybody. It has
        the tag, and no wrapped key names it.
        """
        made = self._call(
            "create_key", Description=f"Personal data of customer {customer_id}", Tags=[TAG]
        )
        return str(made["KeyMetadata"]["Arn"])

    def make_data_key(self, kms_key: str, customer_id: str) -> bytes:
        """Make a customer's key; return it wrapped, bound to the customer's id."""
        made = self._call(
            "generate_data_key_without_plaintext",
            KeyId=kms_key,
            NumberOfBytes=KEY_BYTES,
            EncryptionContext=_context(customer_id),
        )
        return bytes(made["CiphertextBlob"])

    def unwrap(self, kms_key: str, customer_id: str, wrapped: bytes) -> bytes:
        """Return a customer's key.

        Raises:
            KmsKeyUnusableError: The KMS key is disabled, or waits for its deletion.
        """
        opened = self._call(
            "decrypt",
            KeyId=kms_key,
            CiphertextBlob=wrapped,
            EncryptionContext=_context(customer_id),
        )
        return bytes(opened["Plaintext"])

    def destroy_key(self, kms_key: str) -> None:
        """Make a KMS key useless at once, and have it deleted; once more, nothing changes.

        Until it is deleted, an administrator of the KMS can cancel that.
        """
        # Waiting for deletion, or deleted: an earlier run came so far.
        with suppress(KmsKeyUnusableError, KmsKeyMissingError):
            self._call("disable_key", KeyId=kms_key)
            self._call(
                "schedule_key_deletion", KeyId=kms_key, PendingWindowInDays=self._deletion_days
            )

    def _call(self, operation: str, **request: Any) -> Mapping[str, Any]:
        @retrying(on=(KmsUnavailableError, KmsKeyMissingError), budget_seconds=BUDGET_SECONDS)
        def kms() -> Mapping[str, Any]:
            try:
                answer: Mapping[str, Any] = getattr(self._client, operation)(**request)
            except (NoConnectionError, HTTPClientError) as error:
                raise KmsUnavailableError(self._told(operation, error)) from error
            except ClientError as error:
                raise _kind(error)(self._told(operation, error)) from error
            except BotoCoreError as error:
                raise KeyStoreError(self._told(operation, error)) from error
            return answer

        self._refuse_other_region(request.get("KeyId"))
        return kms()

    def _refuse_other_region(self, kms_key: str | None) -> None:
        # The wrong KMS says of any key that there is none, which an erasure would believe.
        region = kms_key.split(":")[3] if kms_key else self._client.meta.region_name
        if region != self._client.meta.region_name:
            raise KeyStoreError(
                f"{kms_key} is in {region}, and LAKEHOUSE_KMS_REGION says "
                f"{self._client.meta.region_name}"
            )

    def _told(self, operation: str, error: Exception) -> str:
        return f"KMS at {self._client.meta.endpoint_url}, {operation}: {error}"


def _kind(error: ClientError) -> type[KeyStoreError]:
    if error.response["ResponseMetadata"]["HTTPStatusCode"] >= _SERVER_ERROR:
        return KmsUnavailableError
    return _BY_CODE.get(error.response["Error"]["Code"], KeyStoreError)


def _context(customer_id: str) -> dict[str, str]:
    return {"customer_id": customer_id}

"""A schema registry that speaks Confluent's API: Apicurio on the stack."""

import json
import threading
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from httpx2 import HTTPError

from lakehouse.resilience import retrying
from lakehouse.settings import Settings
from schemas.contract import Topic
from schemas.registry import (
    BUDGET_SECONDS,
    ContractRegistry,
    IncompatibleSchemaError,
    RegistryUnavailableError,
    UnknownSchemaError,
)

NOT_FOUND, CONFLICT = 404, 409

T = TypeVar("T")


class ConfluentRegistry:
    """Ids are the registry's; which schemas there should be, the contracts say.

    What was asked once is remembered: an id never changes its meaning.
    """

    def __init__(self, settings: Settings, *, budget_seconds: float = BUDGET_SECONDS) -> None:
        """Prepare a client; the registry is first asked when something is wanted of it."""
        assert settings.schema_registry is not None  # noqa: S101 - who calls has looked
        self._address = settings.schema_registry
        self._budget_seconds = budget_seconds
        client = {"url": self._address}
        if settings.ca_file:
            client["ssl.ca.location"] = str(settings.ca_file)
        if settings.schema_registry_token:
            client |= {
                "bearer.auth.credentials.source": "STATIC_TOKEN",
                "bearer.auth.token": settings.schema_registry_token.get_secret_value(),
                # Of Confluent's cloud; the client demands them, others do not look at them.
                "bearer.auth.logical.cluster": "none",
                "bearer.auth.identity.pool.id": "none",
            }
        self._client = SchemaRegistryClient(client)
        self._stated = ContractRegistry()
        self._schemas: dict[int, str] = {}
        self._lock = threading.Lock()

    def ids(self, topic: Topic) -> list[int]:
        """Return the ids that this registry gave to the versions of a topic, oldest first.

        Raises:
            UnknownSchemaError: It was not told of one: ``lakehouse schemas apply`` does that.
            RegistryUnavailableError: It does not answer.
        """
        if topic.subject is None:
            return []
        stated = [self._stated.schema_for(version.id) for version in topic.versions]
        return [self.id_for(topic.subject, schema) for schema in stated]

    def schema_for(self, schema_id: int) -> str:
        """Return the schema of an id as JSON.

        Raises:
            UnknownSchemaError: It has no such id.
            RegistryUnavailableError: It does not answer.
        """
        with self._lock:
            if schema_id not in self._schemas:
                found = self._ask(
                    lambda: self._client.get_schema(schema_id), f"schema id {schema_id} is unknown"
                )
                self._schemas[schema_id] = found.schema_str or ""
            return self._schemas[schema_id]

    def id_for(self, subject: str, schema: str) -> int:
        """Return the id of a schema under a subject.

        Raises:
            UnknownSchemaError: The subject does not hold it.
            RegistryUnavailableError: It does not answer.
        """
        found = self._ask(
            lambda: self._client.lookup_schema(subject, _avro(schema)),
            f"{subject} does not hold this schema: run `lakehouse schemas apply`",
        )
        assert found.schema_id is not None  # noqa: S101 - a registered schema has an id
        return found.schema_id

    def register(self, subject: str, schema: str) -> int:
        """Return the schema's id, giving it one if it is new and can read all earlier ones.

        Raises:
            IncompatibleSchemaError: It cannot read what an earlier version wrote.
            RegistryUnavailableError: It does not answer, or this role may not register.
        """
        return self._ask(
            lambda: self._client.register_schema(subject, _avro(schema)),
            f"{subject} cannot be registered",
        )

    def _ask(self, question: Callable[[], T], unknown: str) -> T:
        @retrying(on=RegistryUnavailableError, budget_seconds=self._budget_seconds)
        def attempt() -> T:
            try:
                return question()
            except SchemaRegistryError as error:
                if error.http_status_code == NOT_FOUND:
                    raise UnknownSchemaError(f"{unknown} (registry {self._address})") from error
                if error.http_status_code == CONFLICT:
                    raise IncompatibleSchemaError(str(error)) from error
                raise RegistryUnavailableError(f"registry {self._address}: {error}") from error
            except (HTTPError, OSError) as error:
                raise RegistryUnavailableError(
                    f"registry {self._address} cannot be reached: {error}"
                ) from error

        return attempt()


def _avro(schema: str) -> Schema:
    return Schema(json.dumps(json.loads(schema)), "AVRO")

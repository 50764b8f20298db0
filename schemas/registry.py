"""Schema ids: which Avro schema an id on the wire means, and which id a schema has."""

import json
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from typing import Any, Protocol

import fastavro
from fastavro.schema import SchemaParseException

import schemas
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from schemas.compatibility import backward_problems
from schemas.contract import ContractError, Topic

# A registry that restarts is back within seconds; events wait in the log meanwhile.
BUDGET_SECONDS = 60.0


class UnknownSchemaError(LakehouseError):
    """No schema has this id, or a subject does not hold this schema."""


class IncompatibleSchemaError(LakehouseError):
    """A version of a topic's Avro schema cannot read what an earlier one wrote."""


class RegistryUnavailableError(LakehouseError):
    """The registry does not answer, or refuses this client."""


class SchemaRegistry(Protocol):
    """Port to whatever gives schemas their ids. Schemas are JSON text."""

    def ids(self, topic: Topic) -> list[int]:
        """Return the ids of the versions that a topic's contract lists, oldest first.

        Raises UnknownSchemaError.
        """

    def schema_for(self, schema_id: int) -> str:
        """Return the schema of an id; raises UnknownSchemaError."""

    def id_for(self, subject: str, schema: str) -> int:
        """Return the id of a schema under a subject; raises UnknownSchemaError."""

    def register(self, subject: str, schema: str) -> int:
        """Return the schema's id, giving it one if it is new and compatible.

        Raises UnknownSchemaError or IncompatibleSchemaError.
        """


def schema_registry(
    settings: Settings, *, budget_seconds: float = BUDGET_SECONDS
) -> SchemaRegistry:
    """Return the registry that the settings name; the contracts themselves when they name none.

    Args:
        settings: Where it is.
        budget_seconds: How long it is asked again while it is away.
    """
    if settings.schema_registry is None:
        return ContractRegistry()
    # Its HTTP client takes a third of a second to import, which the embedded profile need not pay.
    from schemas.confluent_registry import ConfluentRegistry  # noqa: PLC0415

    return ConfluentRegistry(settings, budget_seconds=budget_seconds)


class ContractRegistry:
    """The registry of the embedded profile: ids and schemas are those that the contracts list."""

    def __init__(
        self, topics: Iterable[Topic] | None = None, folder: Traversable | None = None
    ) -> None:
        """Read every schema version of the topics; all of the platform's when left out.

        Args:
            topics: The topics, with their versions.
            folder: Where the schema files are.

        Raises:
            ContractError: A file is missing or holds no Avro record.
        """
        folder = folder or schemas.folder() / "avro"
        stated = schemas.topics().values() if topics is None else topics
        self._subjects: dict[str, dict[int, Any]] = {}
        self._by_id: dict[int, Any] = {}
        for topic in stated:
            if topic.subject is None:
                continue
            versions = {v.id: _read(folder / v.file, v.file) for v in topic.versions}
            self._subjects[topic.subject] = versions
            self._by_id |= versions

    def ids(self, topic: Topic) -> list[int]:
        """Return the ids that the contract gives to the versions of a topic, oldest first."""
        return [version.id for version in topic.versions]

    def schema_for(self, schema_id: int) -> str:
        """Return the schema of an id as JSON.

        Raises:
            UnknownSchemaError: No contract lists the id.
        """
        if schema_id not in self._by_id:
            raise UnknownSchemaError(f"schema id {schema_id} is in no contract")
        return json.dumps(self._by_id[schema_id])

    def id_for(self, subject: str, schema: str) -> int:
        """Return the id that the contract gives to a schema.

        Raises:
            UnknownSchemaError: The contract does not list the schema under this subject.
        """
        wanted = json.loads(schema)
        for schema_id, known in self._subjects.get(subject, {}).items():
            if known == wanted:
                return schema_id
        raise UnknownSchemaError(
            f"{subject} does not hold this schema: add its file and id to the topic's contract"
        )

    def register(self, subject: str, schema: str) -> int:
        """Return the id of a schema that is listed; contracts are the only way to list one.

        Raises:
            UnknownSchemaError: The contract does not list the schema under this subject.
        """
        return self.id_for(subject, schema)

    def compatibility_problems(self) -> list[str]:
        """Return every reason why a version cannot read the data of an earlier one.

        All earlier versions count, not only the last: bronze keeps their payloads for years.
        """
        return [
            problem
            for subject, versions in self._subjects.items()
            for problem in unreadable(subject, versions)
        ]


def unreadable(subject: str, versions: Mapping[int, Any]) -> list[str]:
    """Return every reason why a version of a subject cannot read the data of an earlier one.

    Args:
        subject: Named in the reasons.
        versions: Parsed schemas by id, oldest first.
    """
    return [
        f"{subject}: id {newer} cannot read id {older}: {problem}"
        for position, newer in enumerate(versions)
        for older in list(versions)[:position]
        for problem in backward_problems(versions[older], versions[newer])
    ]


def register(registry: SchemaRegistry, stated: ContractRegistry) -> None:
    """Give a registry every schema version that the contracts state, oldest first.

    Raises:
        IncompatibleSchemaError: A version cannot read what an earlier one wrote, or the registry
            refuses one.
        UnknownSchemaError: The registry takes no other schemas than it has.
    """
    # A registry may compare a version with the last one only.
    if problems := stated.compatibility_problems():
        raise IncompatibleSchemaError("\n".join(problems))
    for topic in schemas.topics().values():
        if topic.subject is not None:
            for schema_id in stated.ids(topic):
                registry.register(topic.subject, stated.schema_for(schema_id))


def registered_schema(registry: SchemaRegistry, schema_id: int) -> dict[str, Any]:
    """Return the record schema of an id, parsed.

    Raises:
        UnknownSchemaError: The registry does not know the id, or it is not a record's.
    """
    schema = json.loads(registry.schema_for(schema_id))
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise UnknownSchemaError(f"schema id {schema_id} is not the schema of a record")
    return schema


def _read(file: Traversable, name: str) -> Any:
    try:
        schema = json.loads(file.read_text(encoding="utf-8"))
        fastavro.parse_schema(schema)
    except FileNotFoundError as error:
        raise ContractError(name, "versions.file", "does not exist") from error
    except (ValueError, SchemaParseException) as error:
        raise ContractError(name, "document", f"is not an Avro schema: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise ContractError(name, "type", "the schema of a topic must be a record")
    return schema

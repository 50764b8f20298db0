"""The Avro schemas that the events of a topic may be written in, and the one to read them by."""

from collections.abc import Mapping
from dataclasses import dataclass

import schemas
from schemas.registry import ContractRegistry


@dataclass(frozen=True)
class TopicSchemas:
    """Schema JSON of a topic.

    Attributes:
        writers: By schema id, every version an event may be written in.
        reader: The newest version, which all events are resolved to.
    """

    writers: Mapping[int, str]
    reader: str


def topic_schemas(topic: str) -> TopicSchemas:
    """Return the schemas of a topic that a contract states."""
    registry = ContractRegistry()
    versions = schemas.topics()[topic].versions
    writers = {version.id: registry.schema_for(version.id) for version in versions}
    return TopicSchemas(writers, reader=writers[versions[-1].id])

"""The Avro schemas that the events of a topic may be written in, and the one to read them by."""

from collections.abc import Mapping
from dataclasses import dataclass

import schemas
from schemas.registry import SchemaRegistry


@dataclass(frozen=True)
class TopicSchemas:
    """Schema JSON of a topic.

    Attributes:
        writers: By schema id, every version an event may be written in.
        reader: The newest version, which all events are resolved to.
    """

    writers: Mapping[int, str]
    reader: str


def topic_schemas(registry: SchemaRegistry, topic: str) -> TopicSchemas:
    """Return the schemas of a topic that a contract states, by the ids that the registry gave them.

    Raises:
        schemas.registry.UnknownSchemaError: The registry does not know one of them.
    """
    ids = registry.ids(schemas.topics()[topic])
    writers = {schema_id: registry.schema_for(schema_id) for schema_id in ids}
    return TopicSchemas(writers, reader=writers[ids[-1]])

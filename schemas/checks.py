"""Whether contracts and Avro schemas are sound, before a producer or a table goes by them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas.carrying import carrying_problems
from schemas.contract import TableContract
from schemas.layouts import UnreadableSchemaError, layout_of
from schemas.lineage import lineage_problems
from schemas.registry import ContractRegistry, IncompatibleSchemaError
from schemas.released import Released


def require_sound(
    contracts: Mapping[str, TableContract],
    registry: ContractRegistry,
    releases: Iterable[Released],
) -> None:
    """Refuse contracts that do not fit one another, or what was released.

    Args:
        contracts: By table name.
        registry: Of their Avro versions.
        releases: What they are held against, one by one.

    Raises:
        IncompatibleSchemaError: Names every subject or table and field that is at fault.
    """
    newest = _newest(contracts, registry)
    problems = [
        *registry.compatibility_problems(),
        *_unlandable(contracts, registry),
        *_hidden_fields(contracts, registry),
        *carrying_problems(contracts, newest),
        *lineage_problems(contracts, newest),
        *(problem for one in releases for problem in one.broken_by(contracts, registry)),
    ]
    if problems:
        raise IncompatibleSchemaError("\n".join(dict.fromkeys(problems)))


def _newest(
    contracts: Mapping[str, TableContract], registry: ContractRegistry
) -> dict[str, dict[str, Any]]:
    """Return the newest schema of every topic that has one."""
    topics = [topic for table in contracts.values() for topic in table.topics if topic.versions]
    return {
        topic.name: json.loads(registry.schema_for(registry.ids(topic)[-1])) for topic in topics
    }


def _unlandable(
    contracts: Mapping[str, TableContract], registry: ContractRegistry
) -> Iterator[str]:
    """Yield the versions that the lander could not read the event time of."""
    for topic in (topic for table in contracts.values() for topic in table.topics):
        for number in registry.ids(topic):
            try:
                layout_of(json.loads(registry.schema_for(number)), topic.event_time)
            except UnreadableSchemaError as error:
                yield f"{topic.subject}: id {number}: {error}"


def _hidden_fields(
    contracts: Mapping[str, TableContract], registry: ContractRegistry
) -> Iterator[str]:
    """Yield the fields that would take the place of a column beside which events are decoded."""
    newest = _newest(contracts, registry)
    for table in contracts.values():
        for topic in table.topics:
            fields = [field["name"] for field in newest.get(topic.name, {}).get("fields", [])]
            for name in fields:
                if name in table.column_names and name != topic.event_time:
                    yield f"{topic.subject}: {name}: is the name of a column of {table.name}"

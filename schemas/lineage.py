"""What each column follows from, table by table, back to the topic or the files.

A contract states of each column of silver and gold the columns that its values are made of
(``transformSourceObjects``), with a dot and a field's name for what is inside of one:
``bronze.market_trades.payload.price``. What only decides, such as a filter, an order or a group, is
not stated, except of a column of constants, such as a state. What is carried follows from the
column or field of its name; a speed twin's columns from the twins of these tables; and columns of
bronze from their part of the message, or of the file's row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastavro.schema import expand_schema

import schemas
from lakehouse.errors import LakehouseError
from schemas.carrying import SOURCES
from schemas.contract import Column, TableContract

# The parts of a message, by the columns that keep them in bronze.
MESSAGE = {
    "message_key": "key",
    "headers": "headers",
    "schema_id": "value",
    "payload": "value",
    "kafka_partition": "partition",
    "kafka_offset": "offset",
    "kafka_timestamp": "timestamp",
}
PAYLOAD, EVENT_TIME = "payload", "event_time"
# The column that keeps a row of a file.
ROW = "row_json"


class UnknownColumnError(LakehouseError):
    """No contract states such a column."""

    exit_code = 2


class Kind(StrEnum):
    """What a column belongs to."""

    TABLE = "table"
    TOPIC = "topic"
    FILES = "files"


@dataclass(frozen=True)
class Place:
    """A column of a table, a part of a topic's messages, or a column of files.

    Attributes:
        of: ``silver.trades``, ``market.trades`` or ``instruments``.
        name: ``price``; of what is inside, with dots: ``payload.price``, ``value.price``.
    """

    kind: Kind
    of: str
    name: str

    def __str__(self) -> str:
        name = f"{self.of}.{self.name}"
        return name if self.kind is Kind.TABLE else f"{self.kind} {name}"


def column_place(name: str) -> Place:
    """Return the column of a name such as ``gold.bars_1m.vwap``.

    Raises:
        UnknownColumnError: There is none.
    """
    place = _place(name)
    if place.of not in schemas.contracts():
        raise UnknownColumnError(f"{name}: no contract states a table {place.of.rstrip('.')}")
    if place.name.partition(".")[0] not in (known := schemas.contract(place.of).column_names):
        raise UnknownColumnError(f"{name}: {place.of} has the columns {', '.join(known)}")
    return place


def upstream(place: Place) -> tuple[Place, ...]:
    """Return what a column is made of; nothing where data come from, and of what is made here.

    Bronze makes the time of ingestion and the topic's generation itself.
    """
    if place.kind is not Kind.TABLE:
        return ()
    table = schemas.contract(place.of)
    if _is_landed(table):
        return _of_message(table, place.name)
    if table.files:
        column, _, field = place.name.partition(".")
        return (Place(Kind.FILES, table.files.name, field),) if column == ROW and field else ()
    stated = schemas.contract(table.batch_twin) if table.batch_twin else table
    sources = tuple(_place(name) for name in _sources(stated, stated.column(place.name)))
    if table is stated:
        return sources
    return tuple(place for source in sources for place in _in_speed_layer(source))


def _place(name: str) -> Place:
    namespace, _, rest = name.partition(".")
    table, _, column = rest.partition(".")
    return Place(Kind.TABLE, f"{namespace}.{table}", column)


def _sources(table: TableContract, column: Column) -> tuple[str, ...]:
    if not column.carried:
        return column.sources
    source = SOURCES[table.name]
    if source in SOURCES:
        return (f"{source}.{column.name}",)
    return (f"{schemas.landed_topics()[source]}.{PAYLOAD}.{column.name}",)


def _is_landed(table: TableContract) -> bool:
    return any(topic.versions for topic in table.topics)


def _of_message(table: TableContract, name: str) -> tuple[Place, ...]:
    (topic,) = table.topics
    column, _, field = name.partition(".")
    if column == EVENT_TIME:
        return (Place(Kind.TOPIC, topic.name, f"value.{topic.event_time}"),)
    if column not in MESSAGE:
        return ()
    return (Place(Kind.TOPIC, topic.name, f"{MESSAGE[column]}.{field}".rstrip(".")),)


def _in_speed_layer(source: Place) -> tuple[Place, ...]:
    """Return what the speed layer has in place of a column: one of its own, or of the log."""
    table = schemas.contract(source.of)
    if _is_landed(table):
        return _of_message(table, source.name)
    return (Place(Kind.TABLE, table.speed_twin or table.name, source.name),)


def lineage_problems(
    contracts: Mapping[str, TableContract], newest: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield the columns of silver and gold whose sources are not stated, or are none.

    Args:
        contracts: All contracts, by table.
        newest: By topic, the newest version of its Avro schema, as parsed JSON.
    """
    for table in contracts.values():
        if not table.sources or table.batch_twin:
            continue
        for column in table.columns:
            where = f"{table.name}.{column.name}"
            if not column.sources and not column.carried:
                yield f"{where}: transformSourceObjects do not state what it is made of"
            for source in column.sources:
                if not _is_stated(_place(source), contracts, newest):
                    yield f"{where}: transformSourceObjects: no contract states {source}"


def _is_stated(
    place: Place,
    contracts: Mapping[str, TableContract],
    newest: Mapping[str, Mapping[str, Any]],
) -> bool:
    column, *fields = place.name.split(".")
    if place.of not in contracts or column not in (table := contracts[place.of]).column_names:
        return False
    if not fields:
        return True
    if table.files:
        return column == ROW and fields[0] in {known.name for known in table.files.columns}
    schema = newest.get(table.topics[0].name) if table.topics and column == PAYLOAD else None
    return schema is not None and _has_field(expand_schema(dict(schema)), fields)


def _has_field(schema: Any, path: Sequence[str]) -> bool:
    """Tell whether an Avro schema, whose records are all in place, has a field of a field."""
    records = [one for one in (schema if isinstance(schema, list) else [schema]) if "fields" in one]
    return not path or any(
        field["name"] == path[0] and _has_field(field["type"], path[1:])
        for record in records
        for field in record["fields"]
    )

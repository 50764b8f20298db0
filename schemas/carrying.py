"""Carried columns: what an event states beside what the platform reckons with.

A contract marks a column as ``carried``, and no code has to know it. In silver it is the field of
the same name, as the trade or fill was first reported; in bars the sum of it over the trades that
count, null where none of them states it. So such a field can come, widen, change its name and go by
contract alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestamptzType,
)

from schemas.contract import Column, TableContract

# The tables whose transforms carry columns, and what each is made of: a topic or a table.
SOURCES = {
    "silver.trades": "market.trades",
    "silver.fills": "oms.fills",
    "gold.bars_1m": "silver.trades",
    "gold.bars_1h": "gold.bars_1m",
    "gold.market_daily": "gold.bars_1m",
}
# No sum of an hour's or a day's values can overflow its column, which would stop a layer for good:
# ten digits of room are ten thousand million trades.
SUM_DIGITS = 38
LARGEST_ADDEND_DIGITS = 28
# Numbers of the types that have no point, by their digits.
WHOLE_NUMBERS: dict[type[IcebergType], int] = {IntegerType: 10, LongType: 19}
# What a column may be, by the Avro type of its field.
HOLDS: dict[str, tuple[type[IcebergType], ...]] = {
    "boolean": (BooleanType,),
    "bytes": (BinaryType,),
    "date": (DateType,),
    "double": (DoubleType,),
    "float": (DoubleType,),
    "int": (IntegerType, LongType),
    "long": (LongType,),
    "string": (StringType,),
    "timestamp-micros": (TimestamptzType,),
}


def not_carriable(table: str, column: Column) -> str | None:
    """Return why a column cannot be a carried one of this table, or None if it can."""
    if table not in SOURCES:
        return f"only {', '.join(SOURCES)} carry columns"
    if column.required:
        return "a carried column must be optional, since older events do not have it"
    if SOURCES[table] in SOURCES and not _is_sum(column.type):
        return f"is a sum: decimal({SUM_DIGITS},s), not {column.type}"
    return None


def carrying_problems(
    contracts: Mapping[str, TableContract], newest: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield why a carried column cannot be filled from what its table is made of.

    Args:
        contracts: All contracts, by table.
        newest: By topic, the newest version of its Avro schema, as parsed JSON.
    """
    for table, source in SOURCES.items():
        for name in contracts[table].carried if table in contracts else ():
            column = contracts[table].column(name)
            if source in newest:
                problem = _of_field(column, newest[source])
            else:
                problem = _of_column(column, contracts[source])
            if problem:
                yield f"{table}.{name}: {problem} in {source}"


def _of_field(column: Column, schema: Mapping[str, Any]) -> str | None:
    types = {field["name"]: field["type"] for field in schema["fields"]}
    if column.name not in types:
        return "there is no such field"
    stated = types[column.name]
    kinds = [kind for kind in (stated if isinstance(stated, list) else [stated]) if kind != "null"]
    if len(kinds) == 1 and _holds(column.type, kinds[0]):
        return None
    return f"{column.type} does not hold the field's {kinds}"


def _holds(column: IcebergType, avro: Any) -> bool:
    physical = avro["type"] if isinstance(avro, dict) else avro
    logical = avro.get("logicalType") if isinstance(avro, dict) else None
    if logical == "decimal":
        return (
            isinstance(column, DecimalType)
            and column.scale == avro.get("scale", 0)
            and column.precision >= avro["precision"]
        )
    return isinstance(column, HOLDS.get(logical or physical, ()))


def _of_column(column: Column, source: TableContract) -> str | None:
    if column.name not in source.carried:
        return "there is no carried column of that name"
    addend = source.column(column.name).type
    digits, scale = _digits(addend)
    if _is_sum(addend) and SOURCES[source.name] in SOURCES:
        digits = LARGEST_ADDEND_DIGITS  # a sum already, of which the same holds
    if digits > LARGEST_ADDEND_DIGITS:
        return f"{addend} cannot be added up: at most decimal({LARGEST_ADDEND_DIGITS},s) can"
    if isinstance(column.type, DecimalType) and column.type.scale != scale:
        return f"{column.type} is no sum of {addend}"
    return None


def _is_sum(kind: IcebergType) -> bool:
    return isinstance(kind, DecimalType) and kind.precision == SUM_DIGITS


def _digits(kind: IcebergType) -> tuple[int, int]:
    """Return how many digits a number may have, and how many of them after the point."""
    if isinstance(kind, DecimalType):
        return kind.precision, kind.scale
    return WHOLE_NUMBERS.get(type(kind), LARGEST_ADDEND_DIGITS + 1), 0

"""Trino's types as Arrow's, and its client's values in them."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

import schemas
from serving.trino_types import arrow_column, arrow_type

BERLIN = timezone(timedelta(hours=2))
# What Trino calls the types of the lake's columns, by Iceberg's name.
TRINO_NAMES = {
    "boolean": "boolean",
    "int": "integer",
    "long": "bigint",
    "double": "double",
    "date": "date",
    "string": "varchar",
    "binary": "varbinary",
    "timestamptz": "timestamp(6) with time zone",
    "map<string, binary>": "map(varchar, varbinary)",
}


@pytest.mark.parametrize(
    ("trino_type", "expected"),
    [
        ("tinyint", pa.int8()),
        ("smallint", pa.int16()),
        ("integer", pa.int32()),
        ("real", pa.float32()),
        ("decimal(5, 0)", pa.decimal128(5, 0)),
        ("decimal(38, 16)", pa.decimal128(38, 16)),
        ("varchar(7)", pa.string()),
        ("char(3)", pa.string()),
        ("time(3)", pa.time64("us")),
        ("time(6) with time zone", pa.string()),
        ("timestamp(3)", pa.timestamp("us")),
        ("timestamp(3) with time zone", pa.timestamp("us", "UTC")),
        ("json", pa.string()),
        ("uuid", pa.string()),
        ("ipaddress", pa.string()),
        ("unknown", pa.null()),
        ("INTERVAL DAY TO SECOND", pa.string()),
        ("HyperLogLog", pa.string()),
        ("array(decimal(2, 1))", pa.list_(pa.decimal128(2, 1))),
        ("map(varchar, array(bigint))", pa.map_(pa.string(), pa.list_(pa.int64()))),
        (
            'row("a b" integer, x timestamp(6) with time zone)',
            pa.struct([("a b", pa.int32()), ("x", pa.timestamp("us", "UTC"))]),
        ),
        ("row(integer, varchar)", pa.struct([("field0", pa.int32()), ("field1", pa.string())])),
    ],
)
def test_types(trino_type: str, expected: pa.DataType) -> None:
    assert arrow_type(trino_type) == expected


@pytest.mark.parametrize("table", schemas.contracts())
def test_every_column_of_the_lake_has_the_type_that_it_has_elsewhere(table: str) -> None:
    contract = schemas.contract(table)
    for column in contract.columns:
        name = str(column.type)
        trino_name = TRINO_NAMES.get(name, name)  # decimals are called the same
        expected = contract.arrow_schema().field(column.name).type
        assert _small(expected) == arrow_type(trino_name), column.name


def _small(arrow: pa.DataType) -> pa.DataType:
    """PyIceberg says large strings, and names the parts of a map; that is layout."""
    if pa.types.is_map(arrow):
        return pa.map_(_small(arrow.key_type), _small(arrow.item_type))
    return {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}.get(arrow, arrow)


@pytest.mark.parametrize(
    ("trino_type", "value", "expected"),
    [
        ("decimal(38, 8)", Decimal("123456789012345678901234567890.12345678"), None),
        ("bigint", 2**63 - 1, None),
        ("varbinary", b"\x00\xff", None),
        ("date", date(2024, 8, 9), None),
        ("time(6)", time(23, 59, 59, 999999), None),
        (
            "timestamp(6) with time zone",
            datetime(2024, 8, 9, 1, 59, 59, 999999, BERLIN),
            datetime(2024, 8, 8, 23, 59, 59, 999999, UTC),
        ),
        ("uuid", UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("INTERVAL DAY TO SECOND", timedelta(days=1), "1 day, 0:00:00"),
        ("map(varchar, varbinary)", {"key": b"value"}, [("key", b"value")]),
        ("array(uuid)", [UUID(int=1), None], ["00000000-0000-0000-0000-000000000001", None]),
        ("row(x integer, y uuid)", (1, None), {"x": 1, "y": None}),
    ],
)
def test_values_are_exact(trino_type: str, value: Any, expected: Any) -> None:
    column = arrow_column([value, None], arrow_type(trino_type))
    assert column.to_pylist() == [value if expected is None else expected, None]

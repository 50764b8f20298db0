"""Query results as text."""

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from rich.console import Console

from serving.output import as_text, print_table, write_csv, write_json

ROWS = pa.Table.from_pylist(
    [
        {
            "price": Decimal("0.00000001"),
            "big": Decimal("1234567890123456789012.1234567890123456"),
            "at": datetime(2024, 8, 8, 12, tzinfo=UTC),
            "text": 'a "quoted", [bold]text[/bold]',
            "count": 2**62,
        },
        {"price": None, "big": None, "at": None, "text": None, "count": None},
    ],
    schema=pa.schema(
        [
            ("price", pa.decimal128(18, 8)),
            ("big", pa.decimal128(38, 16)),
            ("at", pa.timestamp("us", "UTC")),
            ("text", pa.string()),
            ("count", pa.int64()),
        ]
    ),
)


def test_json_is_exact() -> None:
    out = io.StringIO()
    write_json(ROWS, out)
    first, second = json.loads(out.getvalue())
    assert first == {
        "price": "0.00000001",
        "big": "1234567890123456789012.1234567890123456",
        "at": "2024-08-08T12:00:00.000000Z",
        "text": 'a "quoted", [bold]text[/bold]',
        "count": 2**62,
    }
    assert set(second.values()) == {None}


def test_json_of_no_rows_is_an_empty_array() -> None:
    out = io.StringIO()
    write_json(ROWS.slice(0, 0), out)
    assert json.loads(out.getvalue()) == []


def test_csv_is_exact() -> None:
    out = io.StringIO()
    write_csv(ROWS, out)
    header, first, second = csv.reader(io.StringIO(out.getvalue()))
    assert header == ["price", "big", "at", "text", "count"]
    assert first[:3] == [
        "0.00000001",
        "1234567890123456789012.1234567890123456",
        "2024-08-08T12:00:00.000000Z",
    ]
    assert first[3] == 'a "quoted", [bold]text[/bold]'
    assert second == [""] * 5


def test_two_columns_of_one_name_are_both_there() -> None:
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"])
    out = io.StringIO()
    write_csv(rows, out)
    assert out.getvalue() == "n,n\n1,2\n"


def test_the_table_shows_all_digits_and_no_markup() -> None:
    out = io.StringIO()
    print_table(ROWS, Console(file=out, width=200))
    assert "1234567890123456789012.1234567890123456" in out.getvalue()
    assert "[bold]text[/bold]" in out.getvalue()
    assert "2 rows" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("1E+3"), "1000"),
        (date(2024, 8, 8), "2024-08-08"),
        (datetime(2024, 8, 8, 12, 0, 0, 1), "2024-08-08T12:00:00.000001"),  # noqa: DTZ001
        (True, "true"),
        (float("nan"), "nan"),
        (b"\x00\xff", "00ff"),
        ([Decimal("1.50"), None], '["1.50", null]'),
        ({"a": datetime(2024, 8, 8, tzinfo=UTC)}, '{"a": "2024-08-08T00:00:00.000000Z"}'),
    ],
)
def test_values_are_spelled_in_one_way(value: object, text: str) -> None:
    assert as_text(value) == text

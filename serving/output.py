"""Query results as text: exact digits, UTC microseconds, one spelling in every format."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import TextIO

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text


def write_json(rows: pa.Table, stream: TextIO) -> None:
    """Write an array of objects. Decimals are strings, so that no reader makes floats of them."""
    stream.write("[")
    for number, named in enumerate(as_objects(rows)):
        stream.write(",\n " if number else "\n ")
        stream.write(json.dumps(named, ensure_ascii=False, allow_nan=False))
    stream.write("\n]\n" if rows.num_rows else "]\n")


def as_objects(rows: pa.Table) -> Iterator[dict[str, object]]:
    """Yield each row by column name, its values as JSON knows them."""
    for row in _rows(rows):
        yield dict(zip(rows.column_names, map(_plain, row), strict=True))


def write_csv(rows: pa.Table, stream: TextIO) -> None:
    """Write a header and a line for each row; null is an empty field."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in _rows(rows):
        writer.writerow("" if value is None else as_text(value) for value in row)


def print_table(rows: pa.Table, console: Console) -> None:
    """Print a table for people; numbers to the right, null dimmed."""
    table = Table(header_style="bold")
    for field in rows.schema:
        is_number = pa.types.is_decimal(field.type) or pa.types.is_integer(field.type)
        table.add_column(field.name, justify="right" if is_number else "left", overflow="fold")
    for row in _rows(rows):
        table.add_row(*(Text("null", style="dim") if v is None else Text(as_text(v)) for v in row))
    console.print(table)
    console.print(f"{rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'}", style="dim")


def as_text(value: object) -> str:
    """Return one value as text that says exactly what it is."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _rows(rows: pa.Table) -> Iterator[tuple[object, ...]]:
    # By place, not by name: SQL results may have two columns of one name.
    for batch in rows.to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _plain(value: object) -> object:
    """Return a value as JSON knows it."""
    match value:
        case dict():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case None | bool() | int() | str():
            return value
        case float() if isfinite(value):
            return value
        case _:
            return _spelled(value)


def _spelled(value: object) -> str:
    """Return a value that JSON does not know as text; NaN and the infinities are such."""
    match value:
        case Decimal():
            return format(value, "f")
        case datetime():
            moment = value if value.tzinfo is None else value.astimezone(UTC)
            return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return str(value)

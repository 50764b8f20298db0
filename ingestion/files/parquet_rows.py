"""Parquet: rows with the types that their writer gave them, told as text."""

import json
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.files.rows import BadRow, Number, Row, UnreadableFileError

# What is in memory at a time: a few megabytes.
BATCH_ROWS: Final = 20_000


class ParquetRows:
    """The rows of a Parquet file.

    Numbers are told with all their digits: of a binary fraction, the shortest decimal that stands
    for it. Times are told to the microsecond.

    Raises:
        UnreadableFileError: It is no Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise UnreadableFileError("not_parquet", str(error)) from error
        self.names: tuple[str, ...] | None = tuple(schema.names)

    def __iter__(self) -> Iterator[Row | BadRow]:
        number = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    columns = [_values(column) for column in batch.columns]
                    for values in zip(*columns, strict=True):
                        number += 1
                        fields = dict(zip(batch.schema.names, values, strict=True))
                        yield Row(number, fields, json.dumps(fields, ensure_ascii=False).encode())
        # The latter two: a time that Python has no value for.
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise UnreadableFileError("damaged_file", f"after row {number}: {error}") from error


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        texts = pc.cast(column, pa.string()).to_pylist()
        return [None if text is None else Number(text) for text in texts]
    if pa.types.is_timestamp(kind):
        # Python's times have no nanoseconds.
        column = pc.cast(column, pa.timestamp("us", kind.tz), safe=False)
    return [_plain(value) for value in column.to_pylist()]


def _plain(value: Any) -> Any:
    """Return a value as JSON can tell it."""
    match value:
        case None | bool() | str():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
    return Number(value)

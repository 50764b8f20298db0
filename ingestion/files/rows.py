"""What the readers of all formats have in common: rows, and what could not be one."""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from lakehouse.errors import LakehouseError

GZIP_SUFFIX = ".gz"


class Number(str):
    """A number, written as its source wrote it; so no digit is lost on the way."""

    __slots__ = ()


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        line: Line of the file on which it begins, from 1; of Parquet, the number of the row.
        fields: Values by the file's own column names: None, text, `Number`, bool, list or dict.
        raw: The row's bytes, as far as its format has rows of bytes.
    """

    line: int
    fields: Mapping[str, Any]
    raw: bytes


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read, or must not be loaded.

    Attributes:
        line: As of a `Row`.
        reason: Why, as one snake_case word that dashboards can count.
        detail: What was found where, as a sentence for a person.
        raw: The row's bytes.
    """

    line: int
    reason: str
    detail: str
    raw: bytes


class UnreadableFileError(LakehouseError):
    """A file of which no more than a part could be read: none of it is loaded."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RowSource(Protocol):
    """A file as rows; it can be gone through more than once.

    Attributes:
        names: The columns that its header states; None where each row brings its own.
    """

    names: tuple[str, ...] | None

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Go through the rows in the file's order.

        Raises:
            UnreadableFileError: It cannot be read to its end.
        """


def open_file(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed if it is named ``.gz``."""
    # Both close when their reader does; gzip has no type in common with a plain file.
    return gzip.open(path, "rb") if path.suffix == GZIP_SUFFIX else path.open("rb")  # type: ignore[return-value]

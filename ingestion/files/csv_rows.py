"""CSV as RFC 4180 has it: commas, a header, quotes doubled within quotes; UTF-8."""

import csv
import io
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile
from pathlib import Path
from typing import IO, Final

from ingestion.files.rows import BadRow, Row, UnreadableFileError, open_file

# A text of bytes that are no UTF-8 keeps them, so that a dead letter has the row as it came.
KEEP_BYTES: Final = "surrogateescape"


class CsvRows:
    """The rows of a CSV file; an empty field is null, an empty line is none.

    Raises:
        UnreadableFileError: It has no header that can be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with open_file(path) as file:
            try:
                header = next(csv.reader(_Tape(file), strict=True), None)
            except (csv.Error, *_DAMAGE) as error:
                raise UnreadableFileError("malformed_header", f"line 1: {error}") from error
        if header is None:
            raise UnreadableFileError("empty_file", "there is not even a header")
        if not _is_text("".join(header)):
            raise UnreadableFileError("malformed_header", "line 1 is not UTF-8")
        self.names: tuple[str, ...] | None = tuple(header)

    def __iter__(self) -> Iterator[Row | BadRow]:
        names = self.names or ()
        with open_file(self._path) as file:
            tape = _Tape(file)
            reader = csv.reader(tape, strict=True)
            next(reader)
            while True:
                line = reader.line_num + 1
                tape.forget()
                try:
                    record = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield BadRow(line, "malformed_csv", str(error), tape.bytes())
                    continue
                except _DAMAGE as error:
                    raise UnreadableFileError("damaged_file", f"line {line}: {error}") from error
                if record:
                    yield _row(names, record, line, tape.bytes())


# What a file raises that is not all there: a cut or damaged archive.
_DAMAGE: Final = (EOFError, BadGzipFile, zlib.error)


class _Tape:
    """A file's lines, of which the last ones are remembered."""

    def __init__(self, file: IO[bytes]) -> None:
        # A newline within quotes is the field's own, so it is left as it is.
        self._lines = io.TextIOWrapper(file, "utf-8-sig", errors=KEEP_BYTES, newline="")
        self._seen: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._seen.append(line)
            yield line

    def forget(self) -> None:
        """Begin to remember."""
        self._seen.clear()

    def bytes(self) -> bytes:
        """Return what was read since, without the last line's end."""
        return "".join(self._seen).rstrip("\r\n").encode(errors=KEEP_BYTES)


def _row(names: tuple[str, ...], record: list[str], line: int, raw: bytes) -> Row | BadRow:
    if len(record) != len(names):
        detail = f"{len(record)} fields, the header has {len(names)}"
        return BadRow(line, "wrong_field_count", detail, raw)
    if not _is_text("".join(record)):
        return BadRow(line, "malformed_encoding", "the row is not UTF-8", raw)
    values = (value or None for value in record)
    return Row(line, dict(zip(names, values, strict=True)), raw)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

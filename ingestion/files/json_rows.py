"""JSON: an array of objects, or an object a line."""

import json
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile
from pathlib import Path
from typing import Any, Final

from ingestion.files.csv_rows import KEEP_BYTES
from ingestion.files.rows import BadRow, Number, Row, UnreadableFileError, open_file

_WHITE: Final = " \t\r\n"


class _Repeated(dict[str, Any]):
    """An object that states a field twice, so that nobody knows which was meant."""


class JsonRows:
    """The objects of a JSON file, each with fields of its own. It is held in memory whole.

    Raises:
        UnreadableFileError: It cannot be read.
    """

    names: tuple[str, ...] | None = None

    def __init__(self, path: Path) -> None:
        try:
            with open_file(path) as file:
                content = file.read()
        except (EOFError, BadGzipFile, zlib.error) as error:
            raise UnreadableFileError("damaged_file", str(error)) from error
        self._text = content.decode("utf-8-sig", errors=KEEP_BYTES)
        if not self._text.strip(_WHITE):
            raise UnreadableFileError("empty_file", "there is nothing in it")

    def __iter__(self) -> Iterator[Row | BadRow]:
        if self._text.lstrip(_WHITE).startswith("["):
            yield from _elements(self._text)
            return
        for line, text in enumerate(self._text.split("\n"), start=1):
            if not text.strip(_WHITE):
                continue
            try:
                value = _DECODER.decode(text.strip(_WHITE))
            except (ValueError, RecursionError) as error:
                detail = str(error) or type(error).__name__
                yield BadRow(line, "malformed_json", detail, _bytes(text))
            else:
                yield _row(value, line, text)


def _elements(text: str) -> Iterator[Row | BadRow]:
    """Yield the elements of an array. Behind one that is no JSON, none can be found again."""
    line, at, is_first = 1, text.index("[") + 1, True
    counted = 0
    while True:
        at = _skip(text, at)
        closes = text.startswith("]", at)
        if not is_first and not closes:
            if not text.startswith(",", at):
                raise _damage(text, at, "a comma or the array's end is missing")
            at = _skip(text, at + 1)
        if closes:
            if _skip(text, at + 1) != len(text):
                raise _damage(text, at + 1, "something stands behind the array")
            return
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _damage(text, at, str(error) or type(error).__name__) from error
        yield _row(value, line, text[at:end])
        at, is_first = end, False


def _row(value: object, line: int, text: str) -> Row | BadRow:
    raw = _bytes(text)
    if not isinstance(value, dict):
        return BadRow(line, "not_an_object", f"found {type(value).__name__}", raw)
    if isinstance(value, _Repeated):
        return BadRow(line, "repeated_field", "a field is stated twice", raw)
    try:
        # What the row will be kept as must be text: half of a surrogate pair is none.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return BadRow(line, "malformed_encoding", "the row is not UTF-8", raw)
    except RecursionError as error:
        return BadRow(line, "malformed_json", str(error), raw)
    return Row(line, value, raw)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _Repeated(pairs)


# NaN and its like become numbers here, which no column accepts.
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=Number
)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITE:
        at += 1
    return at


def _damage(text: str, at: int, problem: str) -> UnreadableFileError:
    line = text.count("\n", 0, at) + 1
    return UnreadableFileError("malformed_json", f"line {line}: {problem}")


def _bytes(text: str) -> bytes:
    # Text came from bytes, or from an escape in JSON that stands for half of a pair.
    return text.strip(_WHITE).encode(errors=KEEP_BYTES)

"""Event times of many payloads at once, for a lander that has a microsecond for each.

A payload is walked column by column over all rows of a batch: the same field of every row, then
the next field. The walk accepts a row only if it is certain that ``EventCodec`` decodes it (every
length in one byte, text in ASCII, numbers in at most eight bytes, not a byte left over). Every
other row, good or bad, goes to the codec, whose word is final.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.conversions import DecimalBytes, converter_of
from schemas.registry import SchemaRegistry, UnknownSchemaError, registered_schema
from schemas.wire import EVENT_TIME, HEADER, EventCodec, UndecodableError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
WORD_BYTES = 8
# The bit that ends a number of one byte.
FIRST_STOP = np.uint64(0x80)
# The first byte of a little-endian word and the sign bit of the second.
NINE_BITS = np.uint64(0x80FF)
# Eight groups of seven bits, one a byte, folded into one number: pairs, then fours, then all.
FOLDS = tuple(
    (np.uint64(keep), np.uint64(move), np.uint64(bits))
    for keep, move, bits in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)
# Rows walked at once: their bytes and cursors stay in a core's cache.
CHUNK_ROWS = 16_384


class Scan(NamedTuple):
    """What a batch of payloads holds, row by row.

    Attributes:
        schema_ids: Writer's schema id; 0 where refused.
        event_times: Microseconds since 1970, UTC; 0 where refused.
        refused: The error of each row that is no event, by row number.
    """

    schema_ids: npt.NDArray[np.int32]
    event_times: Ints
    refused: dict[int, UndecodableError]


class EventTimeScanner:
    """Reads schema ids and event times of payloads in bulk; refuses what the codec refuses."""

    def __init__(self, codec: EventCodec, registry: SchemaRegistry) -> None:
        """Scan by the codec's word, with writers' schemas from the registry."""
        self._codec = codec
        self._registry = registry
        self._walks: dict[int, Step | None] = {}

    def scan(self, payloads: pa.Array) -> Scan:
        """Return schema id and event time of each payload.

        Args:
            payloads: Binary or large binary array; null stands for a message without a value.
        """
        rows = len(payloads)
        schema_ids = np.zeros(rows, np.int32)
        event_times = np.zeros(rows, np.int64)
        refused: dict[int, UndecodableError] = {}
        for start in range(0, rows, CHUNK_ROWS):
            chunk = payloads.slice(start, CHUNK_ROWS)
            stop = start + len(chunk)
            certain = self._walk(chunk, schema_ids[start:stop], event_times[start:stop])
            for row in np.flatnonzero(~certain).tolist():
                at = start + row
                schema_ids[at], event_times[at] = 0, 0
                try:
                    schema_ids[at], event_times[at] = self._codec.event_time_of(chunk[row].as_py())
                except UndecodableError as error:
                    refused[at] = error
        return Scan(schema_ids, event_times, refused)

    def _walk(self, payloads: pa.Array, schema_ids: npt.NDArray[np.int32], times: Ints) -> Bools:
        """Fill ids and times of the rows that are certain, and return which those are."""
        cursor = _Cursor.over(payloads, self._codec.max_payload_bytes)
        header = cursor.header()
        certain = np.zeros(len(header), np.bool_)
        for schema_id in np.unique(header[cursor.sound]).tolist():
            walk = self._walk_of(schema_id)
            if walk is None:
                continue
            rows = cursor.sound & (header == schema_id)
            cohort = cursor.of(rows)
            times[rows] = walk(cohort)
            schema_ids[rows] = schema_id
            certain[rows] = cohort.finished()
        return certain

    def _walk_of(self, schema_id: int) -> "Step | None":
        if schema_id not in self._walks:
            try:
                schema = registered_schema(self._registry, schema_id)
            except UnknownSchemaError:
                return None
            self._walks[schema_id] = _compile(schema)
        return self._walks[schema_id]


class _Cursor:
    """Where each row of a batch is being read, and whether it can still be trusted."""

    def __init__(
        self, data: npt.NDArray[np.uint8], at: Ints, end: Ints, sound: Bools, high: Ints
    ) -> None:
        self._data = data
        # Every offset of the data as the start of a little-endian word, without a copy.
        self._words: npt.NDArray[np.uint64] = np.ndarray(
            (len(data) - WORD_BYTES + 1,), "<u8", data, strides=(1,)
        )
        self._last = len(data) - WORD_BYTES
        self._high = high
        self.at = at
        self.end = end
        self.sound = sound

    @classmethod
    def over(cls, payloads: pa.Array, max_bytes: int) -> "_Cursor":
        """Return a cursor at the first byte of each payload; sound where a body can follow."""
        wide = payloads.cast(pa.large_binary()).fill_null(b"")
        _, offset_buffer, data_buffer = wide.buffers()
        offsets = np.frombuffer(offset_buffer, np.int64)[wide.offset : wide.offset + len(wide) + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        data = np.zeros(last - first + WORD_BYTES, np.uint8)
        if last > first:
            data[: last - first] = np.frombuffer(data_buffer, np.uint8)[first:last]
        at, end = offsets[:-1] - first, offsets[1:] - first
        high = np.zeros(len(data) + 1, np.int64)
        np.cumsum(data >> 7, out=high[1:])
        lengths = end - at
        return cls(data, at, end, (lengths > HEADER.size) & (lengths <= max_bytes), high)

    def of(self, rows: Bools) -> "_Cursor":
        """Return a cursor over some of the rows."""
        return _Cursor(self._data, self.at[rows], self.end[rows], self.sound[rows], self._high)

    def header(self) -> Ints:
        """Read the framing and return the schema ids."""
        word = self._word()
        self.sound &= (word & 0xFF) == 0
        self.at = self.at + HEADER.size
        return ((word.byteswap() >> 24) & 0xFFFFFFFF).astype(np.int64)

    def small(self) -> Ints:
        """Read a number from 0 to 63, as lengths and branches of unions are."""
        byte = self._data[np.minimum(self.at, self._last)]
        self.sound &= (byte & 0x81) == 0
        self.at = self.at + 1
        return (byte >> 1).astype(np.int64)

    def number(self) -> Ints:
        """Read a number of at most eight bytes: seven bits each, lowest first, zigzag."""
        word = self._word()
        stops = ~word & np.uint64(0x8080808080808080)
        self.sound &= stops != 0
        stop = stops & (~stops + np.uint64(1))
        # The last group is empty only in the number 0; elsewhere it would be superfluous.
        self.sound &= (stop == FIRST_STOP) | ((word & (stop - (stop >> np.uint64(7)))) != 0)
        x = word & ((stop << np.uint64(1)) - np.uint64(1)) & np.uint64(0x7F7F7F7F7F7F7F7F)
        for keep, move, bits in FOLDS:
            x = (x & keep) | ((x & move) >> bits)
        self.at = self.at + (np.bitwise_count(stop - np.uint64(1)).astype(np.int64) + 1) // 8
        return (x >> np.uint64(1)).astype(np.int64) ^ -(x & np.uint64(1)).astype(np.int64)

    def sign_is_repeated(self) -> Bools:
        """Tell whether the first of the next bytes only repeats the sign of the second."""
        first_nine_bits = self._word() & NINE_BITS
        is_repeated: Bools = (first_nine_bits == 0) | (first_nine_bits == NINE_BITS)
        return is_repeated

    def finished(self) -> Bools:
        """Tell which rows were trusted to the end and ended exactly there.

        Cursors only move forward, so a row that ends where it must never left its bytes.
        """
        finished: Bools = self.sound & (self.at == self.end)
        return finished

    def is_ascii(self, length: Ints) -> Bools:
        """Tell whether the next ``length`` bytes are below 128."""
        limit = len(self._high) - 1
        start, stop = np.minimum(self.at, limit), np.minimum(self.at + length, limit)
        is_ascii: Bools = self._high[stop] == self._high[start]
        return is_ascii

    def _word(self) -> npt.NDArray[np.uint64]:
        return self._words[np.minimum(self.at, self._last)]


Step = Callable[[_Cursor], Ints]


def _compile(schema: dict[str, Any]) -> Step | None:
    """Return the walk over a record, or None if a field is of a kind that is not walked."""
    names = [field["name"] for field in schema["fields"]]
    steps = [step for step in (_step(field["type"]) for field in schema["fields"]) if step]
    if EVENT_TIME not in names or len(steps) < len(names):
        return None
    event_time = names.index(EVENT_TIME)

    def walk(cursor: _Cursor) -> Ints:
        return [step(cursor) for step in steps][event_time]

    return walk


def _step(schema: Any) -> Step | None:
    if isinstance(schema, list):
        return _optional(schema)
    converter = converter_of(schema)
    if isinstance(converter, DecimalBytes):
        return partial(_decimal, converter.plain_bytes)
    kind = schema["type"] if isinstance(schema, dict) else schema
    # A number of eight bytes is a time within the years 829 to 3111: no timestamp is too large.
    return {"string": _text, "bytes": _bytes, "long": _Cursor.number}.get(kind)


def _optional(branches: list[Any]) -> Step | None:
    if len(branches) != 2 or "null" not in branches:  # noqa: PLR2004
        return None
    null = branches.index("null")
    inner = _step(branches[1 - null])

    def step(cursor: _Cursor) -> Ints:
        branch = cursor.small()
        cursor.sound &= branch <= 1
        at, sound = cursor.at, cursor.sound.copy()
        value = inner(cursor)  # type: ignore[misc]
        is_null = branch == null
        cursor.at = np.where(is_null, at, cursor.at)
        cursor.sound = np.where(is_null, sound, cursor.sound)
        return value

    return step if inner else None


def _text(cursor: _Cursor) -> Ints:
    length = cursor.small()
    cursor.sound &= cursor.is_ascii(length)
    cursor.at = cursor.at + length
    return length


def _bytes(cursor: _Cursor) -> Ints:
    length = cursor.small()
    cursor.at = cursor.at + length
    return length


def _decimal(plain_bytes: int, cursor: _Cursor) -> Ints:
    length = cursor.small()
    cursor.sound &= (length >= 1) & (length <= plain_bytes)
    cursor.sound &= (length == 1) | ~cursor.sign_is_repeated()
    cursor.at = cursor.at + length
    return length

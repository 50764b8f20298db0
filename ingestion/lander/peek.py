"""Reads the event time out of many Avro payloads at once, without a Python object per row.

Bronze needs one field of the payload, and decoding whole records in Python costs several times
what landing them does. Payloads of a batch lie back to back in one Arrow buffer, so the fields
up to the event time are skipped with one cursor array, all rows in step.

Only these fields are read, and on purpose. A row that is refused here never reaches the layers
behind, so the lander must refuse nothing that Spark's decoder accepts: bytes after the record,
text that is no UTF-8, or a decimal out of range are theirs to judge. What cannot be read as far
as the event time, on the other hand, no decoder can read.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas
from schemas.layouts import Layout, layout_of
from schemas.registry import SchemaRegistry
from schemas.topic_schemas import topic_schemas

# Confluent wire format: a zero byte, then the schema id, four bytes, big-endian.
HEADER_BYTES = 5
# Nine groups of seven bits fit a signed 64-bit number; longer varints are read one by one.
VARINT_BYTES = 9
LONGEST_VARINT_BYTES = 10
# A varint's byte with this bit is followed by another; the other seven bits are the number's.
MORE = 0x80

Int64 = npt.NDArray[np.int64]


class Peeked(NamedTuple):
    """What was read, one entry a row; rows that are not ``read`` hold nothing."""

    schema_id: npt.NDArray[np.int32]
    event_time_us: Int64
    read: npt.NDArray[np.bool_]


def layouts(registry: SchemaRegistry, topic: str) -> dict[int, Layout]:
    """Return the layout of every schema version that the contracts list for a topic, by its id.

    Raises:
        schemas.layouts.UnreadableSchemaError: A version cannot be read by :func:`peek`.
    """
    event_time = schemas.topics()[topic].event_time
    writers = topic_schemas(registry, topic).writers
    return {
        schema_id: layout_of(json.loads(schema), event_time)
        for schema_id, schema in writers.items()
    }


def peek_one(payload: bytes, layouts: Mapping[int, Layout]) -> tuple[int, int] | None:
    """Read one payload as :func:`peek` does, with varints of any length; None if it cannot be."""
    schema_id = int.from_bytes(payload[1:HEADER_BYTES], "big")
    if len(payload) <= HEADER_BYTES or payload[0] != 0 or schema_id not in layouts:
        return None
    at, value = HEADER_BYTES, 0
    for kind in layouts[schema_id]:
        raw = 0
        for index in range(LONGEST_VARINT_BYTES):
            if at >= len(payload):
                return None
            byte = payload[at]
            at += 1
            raw |= (byte & ~MORE) << (7 * index)
            if byte < MORE:
                break
        else:
            return None
        raw &= 0xFFFF_FFFF_FFFF_FFFF
        value = (raw >> 1) ^ -(raw & 1)
        if kind == "text":
            if not 0 <= value <= len(payload) - at:
                return None
            at += value
    return schema_id, value


def peek(payloads: pa.BinaryArray, layouts: Mapping[int, Layout]) -> Peeked:
    """Read schema id and event time (microseconds) of every payload that can be read in step.

    Args:
        payloads: Confluent-framed messages without nulls.
        layouts: For each schema id that may be read so, the types up to the event time.
    """
    rows = len(payloads)
    found = Peeked(np.zeros(rows, np.int32), np.zeros(rows, np.int64), np.zeros(rows, np.bool_))
    if rows == 0:
        return found
    _, offsets_buffer, data_buffer = payloads.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[payloads.offset : payloads.offset + rows + 1]
    if data_buffer is None or data_buffer.size == 0:
        return found
    data = np.frombuffer(data_buffer, np.uint8)
    start, end = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    framed = end - start > HEADER_BYTES
    framed &= data.take(start, mode="clip") == 0
    ids = np.zeros(rows, np.int64)
    for index in range(1, HEADER_BYTES):
        ids = (ids << 8) | data.take(start + index, mode="clip")
    for schema_id, layout in layouts.items():
        mine = framed & (ids == schema_id)
        # Nearly always all rows are of one schema; a slice spares the copies.
        chosen: Any = slice(None) if mine.all() else np.flatnonzero(mine)
        found.schema_id[chosen] = schema_id
        found.event_time_us[chosen], found.read[chosen] = _walk(
            data, start[chosen] + HEADER_BYTES, end[chosen], layout
        )
    return found


def _walk(
    data: npt.NDArray[np.uint8], cursor: Int64, end: Int64, layout: Layout
) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Read all rows field by field; return the last field, and which rows were well-formed."""
    well = np.ones(len(cursor), np.bool_)
    value = cursor
    for kind in layout:
        value, cursor, whole = _varint(data, cursor, end)
        well &= whole
        if kind == "text":
            well &= (value >= 0) & (value <= end - cursor)
            cursor = np.where(well, cursor + value, end)
    return value, well


def _varint(
    data: npt.NDArray[np.uint8], cursor: Int64, end: Int64
) -> tuple[Int64, Int64, npt.NDArray[np.bool_]]:
    """Read one zigzag varint a row: the values, the cursors after them, and which were whole."""
    raw = np.zeros(len(cursor), np.int64)
    length = np.ones(len(cursor), np.int64)
    going = np.ones(len(cursor), np.bool_)
    for index in range(VARINT_BYTES):
        byte = data.take(cursor + index, mode="clip").astype(np.int64)
        raw |= np.where(going, (byte & ~MORE) << (7 * index), 0)
        going &= byte >= MORE
        if not going.any():
            break
        length += going
    after = cursor + length
    return (raw >> 1) ^ -(raw & 1), after, ~going & (after <= end)

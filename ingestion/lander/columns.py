"""Kafka messages as Arrow columns, sorted into what bronze takes and what it refuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import methodcaller
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from confluent_kafka import Message

import schemas
from ingestion.lander.peek import layouts, peek, peek_one
from schemas.registry import SchemaRegistry
from schemas.wire import EventCodec, UndecodableError

TIMESTAMP = pa.timestamp("us", tz="UTC")
HEADERS = pa.map_(pa.string(), pa.binary())
# What Python, and with it every client of the lake, can show as a date; 64 bits reach further.
# A time outside is refused downstream by its exact value, which is in the payload.
EARLIEST_US = -62_135_596_800_000_000
LATEST_US = 253_402_300_799_999_999

LANDER_STAGE = "lander"
PRODUCER_STAGE = "producer"
# Stands for all headers of a message of which one's name is not UTF-8; its value is that name.
UNREADABLE_HEADERS = "lakehouse.unreadable_headers"
# Of such a name the client both returns and raises. A plain call of a method, once Python has
# specialised it, takes no note of the latter, which then strikes somewhere else.
_ask_for_headers = methodcaller("headers")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Sorted:
    """Messages of one topic: rows for its bronze table and rows for ``dead_letters``.

    Neither has ``ingested_at`` or ``topic_generation`` yet: they belong to the commit.
    """

    accepted: pa.Table
    refused: pa.Table


def message_columns(messages: list[Message]) -> pa.Table:
    """Return coordinates, key, headers and payload of messages, one row each.

    Headers that the client cannot read cost a message no more than its headers: both layers know
    an event by its payload, so one that bronze left out would be in the speed layer alone.
    """
    stamps = np.fromiter((message.timestamp()[1] for message in messages), np.int64, len(messages))
    headers = [_headers_of(message) for message in messages]
    return pa.table(
        {
            "kafka_partition": pa.array([m.partition() for m in messages], pa.int32()),
            "kafka_offset": pa.array([m.offset() for m in messages], pa.int64()),
            # A broker keeps milliseconds; -1 stands for a message without a timestamp.
            "kafka_timestamp": _timestamps(np.maximum(stamps, 0) * 1000),
            "message_key": pa.array([m.key() for m in messages], pa.binary()),
            "headers": _headers(headers),
            "payload": pa.array([m.value() for m in messages], pa.binary()),
        }
    )


def next_offsets(columns: pa.Table) -> dict[int, int]:
    """Return for each partition the offset after its last message."""
    last = columns.group_by("kafka_partition").aggregate([("kafka_offset", "max")])
    partitions, offsets = last["kafka_partition"].to_pylist(), last["kafka_offset_max"].to_pylist()
    return {partition: offset + 1 for partition, offset in zip(partitions, offsets, strict=True)}


class EventSorter:
    """Tells events of a topic that can be landed from those that nobody will be able to decode."""

    def __init__(self, registry: SchemaRegistry, topic: str, *, max_payload_bytes: int) -> None:
        self._topic = topic
        self._layouts = layouts(registry, topic)
        # Names the reason why something cannot be read; what can be read is not asked about.
        self._codec = EventCodec(registry, max_payload_bytes, schemas.topics()[topic])
        self._max_payload_bytes = max_payload_bytes

    def sort(self, columns: pa.Table) -> Sorted:
        """Read each event's schema id and event time; refuse those that have none."""
        payload = columns["payload"].combine_chunks()
        if isinstance(payload, pa.ChunkedArray):
            payload = payload.chunk(0) if payload.num_chunks else pa.array([], pa.binary())
        plain = payload.fill_null(b"") if payload.null_count else payload
        schema_id, event_time_us, read = peek(plain, self._layouts)
        read &= pc.binary_length(plain).to_numpy() <= self._max_payload_bytes
        refusals: dict[int, tuple[str, str]] = {}
        for row in np.flatnonzero(~read).tolist():
            verdict = self._judge(payload[row].as_py())
            if isinstance(verdict, UndecodableError):
                refusals[row] = (verdict.reason, verdict.detail)
            else:
                schema_id[row], event_time_us[row] = verdict
        accepted = columns.append_column("schema_id", pa.array(schema_id)).append_column(
            "event_time", _timestamps(np.clip(event_time_us, EARLIEST_US, LATEST_US))
        )
        if not refusals:
            return Sorted(accepted, _refused(columns.slice(0, 0), self._topic, {}))
        keep = np.ones(len(columns), np.bool_)
        keep[list(refusals)] = False
        return Sorted(accepted.filter(pa.array(keep)), _refused(columns, self._topic, refusals))

    def _judge(self, payload: bytes | None) -> tuple[int, int] | UndecodableError:
        if payload is not None and len(payload) <= self._max_payload_bytes:
            found = peek_one(payload, self._layouts)
            if found is not None:
                return found
        try:
            return self._codec.event_time_of(payload)
        except UndecodableError as error:
            return error


def dead_letters_of_frames(columns: pa.Table, topic: str) -> pa.Table:
    """Return what a producer refused as dead letters; the headers say why and where from."""
    said = [dict(entry or ()) for entry in columns["headers"].to_pylist()]

    def header(name: str, default: str | None = None) -> pa.Array:
        texts = (entry.get(name) for entry in said)
        return pa.array(
            [default if text is None else text.decode(errors="replace") for text in texts],
            pa.string(),
        )

    return (
        columns.append_column("topic", pa.array(repeat(topic, len(columns)), pa.string()))
        .append_column("stage", header("stage", PRODUCER_STAGE))
        .append_column("reason", header("reason", "unknown"))
        .append_column("detail", header("detail"))
        .append_column("source", header("source"))
    )


def stamp(rows: pa.Table, schema: pa.Schema, **constants: object) -> pa.Table:
    """Add columns that are the same in every row, and bring all into a table's order and types."""
    for name, value in constants.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value), len(rows)))
    return rows.select(schema.names).cast(schema)


def _refused(columns: pa.Table, topic: str, refusals: Mapping[int, tuple[str, str]]) -> pa.Table:
    rows = columns.take(pa.array(list(refusals), pa.int64()))
    count = len(refusals)
    return (
        rows.append_column("topic", pa.array(repeat(topic, count), pa.string()))
        .append_column("stage", pa.array(repeat(LANDER_STAGE, count), pa.string()))
        .append_column("reason", pa.array([reason for reason, _ in refusals.values()], pa.string()))
        .append_column("detail", pa.array([detail for _, detail in refusals.values()], pa.string()))
        .append_column("source", pa.nulls(count, pa.string()))
    )


def _headers_of(message: Message) -> Any:
    try:
        return _ask_for_headers(message)
    except (SystemError, UnicodeDecodeError) as error:
        # Don't ask again: then the client does not raise, but hands out a list with a hole where
        # the name should be, and a look at that ends the process.
        cause = error.__cause__ or error
        name = cause.object if isinstance(cause, UnicodeDecodeError) else b""
        log.warning(
            "headers cannot be read",
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            name=repr(name),
        )
        return [(UNREADABLE_HEADERS, name)]


def _headers(headers: Sequence[Any]) -> pa.Array:
    if not any(headers):
        return pa.nulls(len(headers), HEADERS)
    # A map has each key once; of a repeated header the last value stays.
    return pa.array([list(dict(entry).items()) if entry else None for entry in headers], HEADERS)


def _timestamps(microseconds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Array:
    return pa.array(microseconds).cast(TIMESTAMP)

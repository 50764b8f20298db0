"""What the lander reads out of payloads, and what it refuses, against the reference decoder."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_rubbish import SOUND, rubbish

from ingestion.lander.columns import (
    LATEST_US,
    TIMESTAMP,
    EventSorter,
    dead_letters_of_frames,
    message_columns,
    next_offsets,
    stamp,
)
from ingestion.lander.peek import layouts, peek, peek_one
from lakehouse.kafka import TRADES_TOPIC
from schemas.layouts import UnreadableSchemaError, layout_of
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec, Reason, UndecodableError

MAX_BYTES = 10_000
CODEC = EventCodec(ContractRegistry(), MAX_BYTES)
LAYOUTS = layouts(ContractRegistry(), TRADES_TOPIC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGS = st.integers(-(2**63), 2**63 - 1)


class FakeMessage:
    """A message as confluent_kafka hands it out."""

    def __init__(
        self,
        offset: int,
        value: bytes | None,
        *,
        partition: int = 0,
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        self._fields = (offset, value, partition, headers)

    def offset(self) -> int:
        return self._fields[0]

    def value(self) -> bytes | None:
        return self._fields[1]

    def partition(self) -> int:
        return self._fields[2]

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._fields[3]

    def key(self) -> bytes:
        return b"venue:symbol"

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_723_161_600_123


def event(**changes: object) -> bytes:
    fields = {
        "event_type": "TRADE",
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "trade_id": 7,
        "event_time": datetime(2024, 8, 9, tzinfo=UTC),
        "price": Decimal("1.5"),
        "quantity": Decimal(2),
        "quantity_unit": "BASE",
    }
    return CODEC.encode(fields | changes)


def varint(value: int) -> bytes:
    raw = ((value << 1) ^ (value >> 63)) & 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while raw >= 0x80:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*out, raw])


def prefix(texts: tuple[bytes, bytes, bytes], trade_id: int, event_time_us: int) -> bytes:
    body = b"".join(varint(len(text)) + text for text in texts)
    return b"\0\0\0\0\1" + body + varint(trade_id) + varint(event_time_us)


def sort(*payloads: bytes | None, topic: str = TRADES_TOPIC) -> tuple[pa.Table, pa.Table]:
    messages = [FakeMessage(10 + n, payload) for n, payload in enumerate(payloads)]
    sorter = EventSorter(ContractRegistry(), topic, max_payload_bytes=MAX_BYTES)
    found = sorter.sort(message_columns(messages))
    return found.accepted, found.refused


@given(
    st.lists(
        st.tuples(
            st.tuples(st.binary(max_size=200), st.binary(max_size=5), st.binary(max_size=5)),
            LONGS,
            LONGS,
            st.binary(max_size=9),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_event_times_are_read_whatever_surrounds_them(
    events: list[tuple[tuple[bytes, bytes, bytes], int, int, bytes]],
) -> None:
    payloads = [prefix(texts, trade_id, at) + rest for texts, trade_id, at, rest in events]
    found = peek(pa.array(payloads, pa.binary()), LAYOUTS)
    for row, (_, trade_id, at, _) in enumerate(events):
        assert peek_one(payloads[row], LAYOUTS) == (1, at)
        if max(len(varint(at)), len(varint(trade_id))) < 10:
            assert found.read[row]
        if found.read[row]:
            assert (found.schema_id[row], found.event_time_us[row]) == (1, at)


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(b"\0\0\0\0\1".__add__)))
def test_both_readers_agree_on_garbage_and_refuse_no_event(payloads: list[bytes]) -> None:
    found = peek(pa.array(payloads, pa.binary()), LAYOUTS)
    for row, payload in enumerate(payloads):
        one = peek_one(payload, LAYOUTS)
        if found.read[row]:
            assert one == (found.schema_id[row], found.event_time_us[row])
        try:
            decoded = CODEC.event_time_of(payload)
        except UndecodableError:
            continue
        assert one == decoded


def test_slices_of_larger_arrays_are_read_right() -> None:
    payloads = pa.array([b"x", event(trade_id=1), event(trade_id=2), b""], pa.binary())
    found = peek(payloads.slice(1, 2), LAYOUTS)
    assert found.read.tolist() == [True, True]
    assert peek(payloads.slice(0, 0), LAYOUTS).read.tolist() == []
    assert peek(pa.array([b"", b""], pa.binary()), LAYOUTS).read.tolist() == [False, False]


@pytest.mark.parametrize("topic", SOUND)
def test_what_nobody_can_decode_is_refused_with_its_reason(topic: str) -> None:
    sound = SOUND[topic]
    cases = rubbish(sound, cut="truncated_payload")
    assert {reason for _, reason in cases.values()} == set(Reason)
    payloads = [payload for payload, _ in cases.values()]
    accepted, refused = sort(sound, *payloads, sound + b"left over", topic=topic)
    assert accepted["payload"].to_pylist() == [sound, sound + b"left over"]
    rows = refused.to_pylist()
    assert {row["kafka_offset"]: row["reason"] for row in rows} == {
        offset: reason for offset, (_, reason) in enumerate(cases.values(), start=11)
    }
    assert [row["payload"] for row in rows] == payloads
    assert {(row["stage"], row["topic"]) for row in rows} == {("lander", topic)}
    assert all(row["detail"] for row in rows)


def test_what_spark_can_decode_is_left_to_the_layers_behind() -> None:
    """The reference decoder is stricter; a refusal here would part the two layers."""
    whole = event()
    strange = [whole + b"!", whole.replace(b"TRADE", b"TR\xffDE"), whole[: whole.index(b"BASE")]]
    for payload in strange:
        with pytest.raises(UndecodableError):
            CODEC.decode(payload)
    accepted, refused = sort(*strange)
    assert (len(accepted), len(refused)) == (3, 0)
    assert set(accepted["event_time"].to_pylist()) == {datetime(2024, 8, 9, tzinfo=UTC)}


def test_times_beyond_the_calendar_are_kept_at_its_edge() -> None:
    accepted, _ = sort(prefix((b"TRADE", b"v", b"S"), 1, 2**62))
    edge = EPOCH + timedelta(microseconds=LATEST_US)
    assert accepted["event_time"].to_pylist() == [edge]


def test_messages_become_columns_and_offsets() -> None:
    messages = [
        FakeMessage(5, b"a", partition=1, headers=[("k", b"1"), ("k", b"2"), ("n", None)]),
        FakeMessage(8, None, partition=2),
        FakeMessage(6, b"", partition=1),
    ]
    columns = message_columns(messages)
    assert next_offsets(columns) == {1: 7, 2: 9}
    assert columns["headers"].to_pylist() == [[("k", b"2"), ("n", None)], None, None]
    assert columns["payload"].to_pylist() == [b"a", None, b""]
    at = datetime(2024, 8, 9, 0, 0, 0, 123_000, tzinfo=UTC)
    assert columns["kafka_timestamp"].to_pylist() == [at] * 3


def test_producers_dead_letters_take_reason_and_source_from_their_headers() -> None:
    said = [("reason", b"malformed_json"), ("detail", b"at 3"), ("source", b"f:1"), ("stage", b"x")]
    columns = message_columns([FakeMessage(0, b"{", headers=said), FakeMessage(1, b"?")])
    first, second = dead_letters_of_frames(columns, "ingest.dead_letters").to_pylist()
    names = ("stage", "reason", "detail", "source", "payload")
    assert [first[name] for name in names] == ["x", "malformed_json", "at 3", "f:1", b"{"]
    assert [second[name] for name in names] == ["producer", "unknown", None, None, b"?"]


def test_stamping_brings_rows_into_the_tables_shape() -> None:
    schema = pa.schema([("b", TIMESTAMP), ("a", pa.int64())])
    rows = stamp(pa.table({"a": pa.array([1, 2], pa.int32())}), schema, b=EPOCH)
    assert rows.schema == schema
    assert rows.to_pylist() == [{"b": EPOCH, "a": 1}, {"b": EPOCH, "a": 2}]


def test_a_schema_with_something_unreadable_before_the_time_is_refused_at_the_start() -> None:
    time = {"name": "event_time", "type": "long"}

    def layout(before: object) -> tuple[str, ...]:
        fields = [{"name": "x", "type": before}, time]
        return layout_of({"name": "E", "fields": fields}, "event_time")

    assert layout("bytes") == ("text", "number")
    with pytest.raises(UnreadableSchemaError, match="E: event_time"):
        layout(["null", "int"])
    assert np.dtype(np.int64) == peek(pa.array([], pa.binary()), LAYOUTS).event_time_us.dtype

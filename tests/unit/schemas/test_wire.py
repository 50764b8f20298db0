import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import SchemaVersion, Topic, topics
from schemas.registry import ContractRegistry, IncompatibleSchemaError
from schemas.wire import HEADER, EventCodec, Reason, UndecodableError, UnencodableError

REGISTRY = ContractRegistry()
LIMIT = 1_000
CODEC = EventCodec(REGISTRY, LIMIT)
LOGICAL = fastavro.parse_schema(json.loads(REGISTRY.schema_for(1)))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TRADE: dict[str, Any] = {
    "event_type": "TRADE",
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "trade_id": 3_712_345_678,
    "event_time": datetime(2024, 8, 8, 23, 59, 59, 123_456, tzinfo=UTC),
    "price": Decimal("61234.56000000"),
    "quantity": Decimal("0.00123000"),
    "quantity_unit": "BASE",
    "contract_size": None,
    "aggressor_side": "BUY",
    "received_at": datetime(2024, 8, 8, 23, 59, 58, 1, tzinfo=UTC),
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
amounts = st.none() | st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: Decimal(n).scaleb(-8))
times = st.datetimes(timezones=st.just(UTC))
events = st.fixed_dictionaries(
    {
        "event_type": texts,
        "venue": texts,
        "symbol": texts,
        "trade_id": st.integers(-(2**63), 2**63 - 1),
        "event_time": times,
        "price": amounts,
        "quantity": amounts,
        "quantity_unit": texts,
        "contract_size": amounts,
        "aggressor_side": st.none() | texts,
        "received_at": st.none() | times,
    }
)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def reason_of(payload: bytes | None) -> Reason:
    with pytest.raises(UndecodableError) as refusal:
        CODEC.decode(payload)
    with pytest.raises(UndecodableError) as peeked:
        CODEC.event_time_of(payload)
    assert (peeked.value.reason, peeked.value.detail) == (
        refusal.value.reason,
        refusal.value.detail,
    )
    return refusal.value.reason


def refusal_of(payload: bytes | None) -> UndecodableError | None:
    try:
        CODEC.decode(payload)
    except UndecodableError as error:
        return error
    return None


@given(events)
def test_what_is_encoded_is_decoded_to_the_last_digit(event: Mapping[str, Any]) -> None:
    payload = EventCodec(REGISTRY, 10_000).encode(event)
    decoded = EventCodec(REGISTRY, 10_000).decode(payload)
    assert decoded == event
    for field in ("price", "quantity", "contract_size"):
        if event[field] is not None:
            assert decoded[field].as_tuple().exponent == -8
    assert EventCodec(REGISTRY, 10_000).event_time_of(payload) == (1, micros(event["event_time"]))


@given(events)
def test_a_general_avro_reader_gets_back_what_was_encoded(event: dict[str, Any]) -> None:
    body = BytesIO(CODEC.encode(event)[HEADER.size :])
    assert fastavro.schemaless_reader(body, LOGICAL, None) == event
    assert not body.read()


def test_the_frame_is_a_zero_byte_and_the_schema_id() -> None:
    assert CODEC.encode(TRADE)[:5] == b"\x00\x00\x00\x00\x01"


def test_fields_with_a_default_may_be_left_out() -> None:
    cancel = {k: TRADE[k] for k in ("venue", "symbol", "trade_id", "event_time", "quantity_unit")}
    decoded = CODEC.decode(CODEC.encode({**cancel, "event_type": "CANCEL"}))
    assert decoded["price"] is None
    assert decoded["received_at"] is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"price": Decimal("0.000000001")}, "price"),
        ({"price": Decimal("1e10")}, "price"),
        ({"price": Decimal("NaN")}, "price"),
        ({"price": Decimal("Infinity")}, "price"),
        ({"quantity": 1.5}, "quantity"),
        ({"event_time": datetime(2024, 1, 1)}, "event_time"),  # noqa: DTZ001
        ({"event_time": 2**63}, "event_time"),
        ({"event_time": 2**62}, "event_time"),
        ({"event_time": -(2**62)}, "event_time"),
        ({"event_time": True}, "event_time"),
        ({"event_time": None}, "event_time"),
        ({"venue": None}, "venue"),
        ({"venue": "\ud800"}, "surrogates"),
        ({"trade_id": 2**63}, "trade_id"),
        ({"trade_id": "7"}, "trade_id"),
        ({"trade_id": None}, "trade_id"),
        ({"symbol": 5}, "symbol"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_event_that_does_not_fit_is_refused_by_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UnencodableError, match=named):
        CODEC.encode({**TRADE, **change})


def test_a_time_may_be_given_in_microseconds() -> None:
    times = {name: micros(TRADE[name]) for name in ("event_time", "received_at")}
    assert CODEC.encode(TRADE | times) == CODEC.encode(TRADE)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(UnencodableError, match="symbol"):
        CODEC.encode({name: value for name, value in TRADE.items() if name != "symbol"})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, Reason.EMPTY_PAYLOAD),
        (b"", Reason.EMPTY_PAYLOAD),
        (b"{}", Reason.BAD_MAGIC_BYTE),
        (b"\x00\x00\x00\x00", Reason.TRUNCATED_PAYLOAD),
        (b"\x00\x00\x00\x00\x01", Reason.TRUNCATED_PAYLOAD),
        (CODEC.encode(TRADE)[:-1], Reason.TRUNCATED_PAYLOAD),
        (CODEC.encode(TRADE) + b"\x00", Reason.UNDECODABLE_PAYLOAD),
        (HEADER.pack(0, 2**31) + CODEC.encode(TRADE)[5:], Reason.UNKNOWN_SCHEMA_ID),
        (b"\x00" * (LIMIT + 1), Reason.PAYLOAD_TOO_LARGE),
        (CODEC.encode(TRADE).replace(b"BTCUSDT", b"BTC\xff\xfeDT"), Reason.UNDECODABLE_PAYLOAD),
    ],
)
def test_each_kind_of_damage_has_its_reason(payload: bytes | None, reason: Reason) -> None:
    assert reason_of(payload) is reason


def test_a_decimal_of_too_many_digits_is_refused_not_rounded() -> None:
    price = CODEC.encode(TRADE).index((6_123_456_000_000).to_bytes(6, "big"))
    payload = CODEC.encode(TRADE)
    forty_digits = (10**40).to_bytes(17, "big")
    forged = payload[: price - 1] + bytes([17 << 1]) + forty_digits + payload[price + 6 :]
    assert reason_of(forged) is Reason.UNDECODABLE_PAYLOAD


@pytest.mark.parametrize(
    ("canonical", "forged"),
    [
        (b"\x02\x06BUY", b"\x01\x06BUY"),
        (b"\x06BUY", b"\x86\x00BUY"),
        (b"\x06BUY", b"\x86\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00BUY"),
        (b"\x06\x01\xe0x", b"\x08\x00\x01\xe0x"),
        (b"\x06\x01\xe0x", b"\x00"),
    ],
    ids=["branch -1", "long length", "endless length", "sign twice", "no digits"],
)
def test_what_readers_would_disagree_about_is_refused(canonical: bytes, forged: bytes) -> None:
    payload = CODEC.encode(TRADE)
    assert payload.count(canonical) == 1
    payload = payload.replace(canonical, forged)
    assert reason_of(payload) is Reason.UNDECODABLE_PAYLOAD


@pytest.mark.parametrize("unscaled", [0, 127, 128, -128, -129, 255, 256, -256, -32_768, -32_769])
def test_decimals_take_as_many_bytes_as_java_gives_them(unscaled: int) -> None:
    event = {**TRADE, "price": Decimal(unscaled).scaleb(-8)}
    assert CODEC.decode(CODEC.encode(event))["price"] == event["price"]
    shortest = next(n for n in range(1, 4) if -(1 << 8 * n - 1) <= unscaled < 1 << 8 * n - 1)
    whole = CODEC.encode({**event, "price": None})
    assert len(CODEC.encode(event)) - len(whole) == 1 + shortest


def test_a_time_outside_the_calendar_is_refused() -> None:
    payload = CODEC.encode(TRADE)
    old = _varint(micros(TRADE["event_time"]))
    forged = payload.replace(old, _varint(2**62))
    assert reason_of(forged) is Reason.UNDECODABLE_PAYLOAD


@settings(max_examples=500)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda body: b"\0\0\0\0\1" + body))
def test_random_bytes_raise_nothing_but_undecodable(payload: bytes) -> None:
    refusal = refusal_of(payload)
    assert refusal is None or (refusal.reason in Reason and refusal.detail)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    payload = bytearray(EventCodec(REGISTRY, 10_000).encode(draw(events)))
    for at in draw(st.lists(st.integers(0, len(payload) - 1), max_size=3)):
        payload[at] = draw(st.integers(0, 255))
    cut = draw(st.none() | st.integers(0, len(payload)))
    return bytes(payload[:cut]) + draw(st.just(b"") | st.binary(max_size=3))


@settings(max_examples=300)
@given(damaged())
def test_what_survives_damage_is_an_event_that_encodes_to_the_same_bytes(payload: bytes) -> None:
    if refusal_of(payload) is None:
        assert CODEC.encode(CODEC.decode(payload)) == payload


FEE = {"name": "fee", "type": ["null", "int"], "default": None}
RATE = {"name": "rate", "type": ["null", "float"], "default": None}


class Versions:
    """A registry whose topic has gained other first fields with each version."""

    def __init__(self, *first_fields: list[dict[str, Any]]) -> None:
        self._schemas = {}
        for number, fields in enumerate([[], *first_fields], start=1):
            self._schemas[number] = json.loads(REGISTRY.schema_for(1))
            self._schemas[number]["fields"][:0] = fields
        versions = tuple(map(_v, self._schemas))
        self.topic = Topic("market.trades", "venue:symbol", "s", versions)

    def ids(self, topic: Topic) -> list[int]:
        return [version.id for version in topic.versions]

    def schema_for(self, schema_id: int) -> str:
        return json.dumps(self._schemas[schema_id])

    def id_for(self, subject: str, schema: str) -> int:
        raise NotImplementedError

    def register(self, subject: str, schema: str) -> int:
        raise NotImplementedError


def test_an_old_payload_is_read_by_the_schema_that_wrote_it() -> None:
    registry = Versions([FEE])
    codec = EventCodec(registry, LIMIT, registry.topic)
    assert codec.decode(CODEC.encode(TRADE)) == {**TRADE, "fee": None}
    new = codec.encode({**TRADE, "fee": 3})
    assert codec.decode(new)["fee"] == 3
    assert codec.event_time_of(CODEC.encode(TRADE)) == (1, micros(TRADE["event_time"]))
    assert codec.event_time_of(new) == (2, micros(TRADE["event_time"]))


def test_a_field_is_followed_through_its_widths_and_names() -> None:
    wider = [{**FEE, "type": ["null", "long"]}, {**RATE, "type": ["null", "double"]}]
    other = [{**wider[0], "name": "charge", "aliases": ["fee"]}, wider[1]]
    versions = [[], [FEE, RATE], wider, other]
    codecs = []
    for count in range(1, len(versions) + 1):
        registry = Versions(*versions[1:count])
        codecs.append(EventCodec(registry, LIMIT, registry.topic))
    written = [
        codecs[0].encode(TRADE),
        codecs[1].encode({**TRADE, "fee": 3, "rate": 0.5}),
        codecs[2].encode({**TRADE, "fee": 2**40, "rate": 0.1}),
        codecs[3].encode({**TRADE, "charge": 2**41, "rate": None}),
    ]
    read = [codecs[3].decode(payload) for payload in written]
    assert [(event["charge"], event["rate"]) for event in read] == [
        (None, None),
        (3, 0.5),
        (2**40, 0.1),
        (2**41, None),
    ]
    assert [codecs[3].event_time_of(payload)[0] for payload in written] == [1, 2, 3, 4]
    refusal = refusal_of(written[1])
    assert refusal is not None, "who knows the first version only"
    assert refusal.reason is Reason.UNKNOWN_SCHEMA_ID


def test_no_producer_uses_a_schema_that_cannot_read_what_was_written() -> None:
    registry = Versions([FEE], [{**FEE, "type": ["null", "string"]}])
    with pytest.raises(IncompatibleSchemaError, match="s: id 3 cannot read id 2: fee: "):
        EventCodec(registry, LIMIT, registry.topic)


def test_a_topic_of_raw_bytes_has_no_codec() -> None:
    with pytest.raises(UnencodableError, match=r"ingest\.dead_letters"):
        EventCodec(REGISTRY, LIMIT, topics()["ingest.dead_letters"])


def _v(schema_id: int) -> SchemaVersion:
    return SchemaVersion(schema_id, f"v{schema_id}.avsc")


def _varint(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])

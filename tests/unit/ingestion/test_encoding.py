import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.encoding import (
    UnencodableError,
    UnsupportedSchemaError,
    record_encoder,
    trade_encoder,
)
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

REGISTRY = ContractRegistry()
SCHEMA = json.loads(REGISTRY.schema_for(1))
PARSED = fastavro.parse_schema(json.loads(REGISTRY.schema_for(1)))
ENCODE = trade_encoder(REGISTRY)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGS = st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.decimals(
    min_value=Decimal("-9999999999.99999999"),
    max_value=Decimal("9999999999.99999999"),
    places=8,
)
EVENTS = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(["TRADE", "CORRECTION", "CANCEL"]),
        "venue": st.text(),
        "symbol": st.text(),
        "trade_id": LONGS,
        "event_time": LONGS,
        "price": st.none() | DECIMALS,
        "quantity": st.none() | DECIMALS,
        "quantity_unit": st.text(),
        "contract_size": st.none() | DECIMALS,
        "aggressor_side": st.none() | st.text(),
        "received_at": st.none() | LONGS,
    }
)
EVENT: dict[str, Any] = {
    "event_type": "TRADE",
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "trade_id": 3735683259,
    "event_time": 1723161255342000,
    "price": Decimal("61837.63"),
    "quantity": Decimal("0.02000000"),
    "quantity_unit": "BASE",
    "contract_size": None,
    "aggressor_side": "SELL",
    "received_at": None,
}


@given(EVENTS)
def test_a_general_avro_reader_gets_back_what_was_written(event: dict[str, Any]) -> None:
    # Timestamps are compared as stored: not every long is a date.
    plain = json.loads(json.dumps(SCHEMA).replace('"logicalType": "timestamp-micros"', '"doc": ""'))
    payload = ENCODE(event)
    assert payload[:5] == b"\x00\x00\x00\x00\x01"
    assert fastavro.schemaless_reader(BytesIO(payload[5:]), plain, None) == event


@given(EVENTS)
def test_bytes_are_those_of_a_general_avro_writer(event: dict[str, Any]) -> None:
    expected = BytesIO()
    fastavro.schemaless_writer(expected, PARSED, event)
    assert ENCODE(event)[5:] == expected.getvalue()


def test_the_platforms_codec_decodes_it() -> None:
    decoded = EventCodec(REGISTRY, 1_000_000).decode(ENCODE(EVENT))
    event_time = EPOCH + timedelta(microseconds=EVENT["event_time"])
    assert decoded == EVENT | {"event_time": event_time}


def test_optional_fields_may_be_left_out() -> None:
    short = {name: value for name, value in EVENT.items() if name != "received_at"}
    assert ENCODE(short) == ENCODE(EVENT)


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": None},
        {"symbol": 5},
        {"trade_id": None},
        {"trade_id": 2**63},
        {"price": Decimal("0.000000001")},
        {"price": Decimal(10) ** 10},
        {"price": Decimal("NaN")},
        {"price": Decimal("Infinity")},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnencodableError):
        ENCODE(EVENT | changes)


@pytest.mark.parametrize(
    "avro_type",
    ["double", ["string", "null"], ["null", "string", "long"], {"type": "map"}, "bytes"],
)
def test_other_schemas_are_refused_with_the_field(avro_type: Any) -> None:
    with pytest.raises(UnsupportedSchemaError, match="shape"):
        record_encoder({"fields": [{"name": "shape", "type": avro_type}]})

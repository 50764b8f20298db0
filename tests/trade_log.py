"""A log of trade events, made by hand: one payload at a time, harmless unless told otherwise."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro

NOON = datetime(2024, 8, 8, 12, 0, tzinfo=UTC)
SCHEMA_JSON = (Path(__file__).parents[1] / "schemas" / "avro" / "market.trades.v1.avsc").read_text()
SCHEMA = fastavro.parse_schema(json.loads(SCHEMA_JSON))
RECORDS = (
    "topic_generation int, kafka_partition int, kafka_offset long, kafka_timestamp timestamp,"
    " payload binary"
)
DEFAULTS = {
    "event_type": "TRADE",
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "trade_id": 1,
    "event_time": NOON,
    "price": Decimal("100"),
    "quantity": Decimal("2"),
    "quantity_unit": "BASE",
    "contract_size": None,
    "aggressor_side": "BUY",
    "received_at": None,
}


def payload(**fields: Any) -> bytes:
    """Return one event in the wire format; fields that are not named have harmless values."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, SCHEMA, DEFAULTS | fields)
    return b"\x00\x00\x00\x00\x01" + body.getvalue()


def _stored(avro_type: Any) -> Any:
    """Return an Avro type as it is stored: texts and decimals as bytes, times as longs."""
    if isinstance(avro_type, list):
        return [_stored(branch) for branch in avro_type]
    if isinstance(avro_type, dict):
        return avro_type["type"]
    return "bytes" if avro_type == "string" else avro_type


def _stored_schema() -> Any:
    schema = json.loads(SCHEMA_JSON)
    fields = [{"name": f["name"], "type": _stored(f["type"])} for f in schema["fields"]]
    return fastavro.parse_schema({"type": "record", "name": "Stored", "fields": fields})


STORED_SCHEMA = _stored_schema()
STORED_PRICE = b"\x02\x54\x0b\xe4\x00"


def stored_payload(**fields: Any) -> bytes:
    """Return one event whose fields are given as Avro stores them, sound or not.

    Texts and decimals are bytes, times are microseconds: what no encoder would write can be said.
    """
    stored = {name: v.encode() if isinstance(v, str) else v for name, v in DEFAULTS.items()} | {
        "event_time": int(NOON.timestamp()) * 1_000_000,
        "price": STORED_PRICE,
        "quantity": b"\x0b\xeb\xc2\x00",
    }
    body = io.BytesIO()
    fastavro.schemaless_writer(body, STORED_SCHEMA, stored | fields)
    return b"\x00\x00\x00\x00\x01" + body.getvalue()


def stored_decimal(unscaled: int) -> bytes:
    """Return a decimal's digits as Avro stores them, however many there are."""
    return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)

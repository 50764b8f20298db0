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

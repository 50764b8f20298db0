"""A log of events about fills, made by hand: harmless unless told otherwise."""

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
from trade_log import NOON

SCHEMA_ID = 20
SCHEMA_JSON = (Path(__file__).parents[1] / "schemas" / "avro" / "oms.fills.v1.avsc").read_text()
SCHEMA = fastavro.parse_schema(json.loads(SCHEMA_JSON))
DEFAULTS = {
    "event_type": "FILL",
    "customer_id": "C-1",
    "order_id": 1,
    "fill_id": 1,
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "event_time": NOON,
    "side": "BUY",
    "quantity": Decimal(2),
    "price": Decimal(100),
    "fee": Decimal("0.1"),
    "received_at": None,
}


def fill(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an event that reports a fill."""
    return DEFAULTS | {"fill_id": number} | fields


def bust(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an event that takes a fill back."""
    nothing = dict.fromkeys(("side", "quantity", "price", "fee"))
    return DEFAULTS | nothing | {"event_type": "BUST", "fill_id": number} | fields


def payload(**fields: Any) -> bytes:
    """Return one event in the wire format; fields that are not named have harmless values."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, SCHEMA, DEFAULTS | fields)
    return b"\x00" + SCHEMA_ID.to_bytes(4, "big") + body.getvalue()

"""A log of quotes, made by hand: harmless unless told otherwise."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lakehouse.kafka import QUOTES_TOPIC
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

CODEC = EventCodec(ContractRegistry(), 1_000_000, topics()[QUOTES_TOPIC])
# The last seconds of a day: some quotes are of the next.
LATE = datetime(2024, 8, 8, 23, 59, 58, tzinfo=UTC)


def quote(number: int = 1, second: float = 0, **fields: Any) -> dict[str, Any]:
    """Return a quote, some seconds after `LATE`."""
    return {
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "update_id": number,
        "event_time": LATE + timedelta(seconds=second),
        "time_source": "EXCHANGE",
        "bid_price": Decimal(100 + number % 3),
        "bid_quantity": Decimal(2),
        "ask_price": Decimal("103.00000001"),
        "ask_quantity": Decimal(1),
        "quantity_unit": "BASE",
        "received_at": None,
    } | fields


def payload(made: Mapping[str, Any]) -> bytes:
    """Return a quote in the wire format."""
    return CODEC.encode(made)

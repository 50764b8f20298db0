"""A small market as rows of the tables: one that rises and falls without chance."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

Row = dict[str, Any]

FIRST = datetime(2024, 8, 8, 23, 30, tzinfo=UTC)  # the bars cross an hour and a day
INSTRUMENTS = (("binance_coinm", "BTCUSD_PERP"), ("binance_spot", "BTCUSDT"))
CENT = Decimal("0.01")
# A trade of an instrument of which batch knows the first minute, and the live tier the rest.
NEW = {
    "venue": "binance_spot",
    "symbol": "ETHUSDT",
    "trade_id": 1,
    "event_time": FIRST + timedelta(minutes=1),
    "price": Decimal("2683.5"),
    "quantity": Decimal("2"),
}
# More digits than a float has.
DIGITS = {
    "symbol": "DIGITS",
    "high": Decimal("9000000000.00000001"),
    "close": Decimal("8999999999.99999999"),
    "volume": Decimal("123456789012345678901234567.12345678"),
}


def bar(minute: int, venue: str = "binance_spot", symbol: str = "BTCUSDT", **changes: Any) -> Row:
    """Return the bar of a minute; its log position is told by the minute."""
    open_, close = price(minute), price(minute + 1)
    start = FIRST + timedelta(minutes=minute)
    row = {
        "venue": venue,
        "symbol": symbol,
        "window_start": start,
        "open": open_,
        "high": max(open_, close) + 7,
        "low": min(open_, close) - 5,
        "close": close,
        "volume": Decimal(3 + minute * 7 % 11),
        "notional": close * 3,
        "vwap": close,
        "trade_count": 200 + minute * 37 % 500,
        "first_trade_at": start + timedelta(milliseconds=120),
        "last_trade_at": start + timedelta(seconds=58, milliseconds=750),
        "log_partition": 0,
        "last_offset": 1000 * (minute + 1),
    }
    return row | changes


def price(minute: int) -> Decimal:
    """Return the price at the start of a minute."""
    swing = abs(minute * 13 % 40 - 20) * 3 + abs(minute % 24 - 12) * 5
    return Decimal(61_600 + swing) + minute % 7 * CENT * 13


def spread(minute: int, venue: str = "binance_spot", symbol: str = "BTCUSDT") -> Row:
    """Return the spread of a minute."""
    start, middle = FIRST + timedelta(minutes=minute), price(minute + 1)
    return {
        "venue": venue,
        "symbol": symbol,
        "window_start": start,
        **dict.fromkeys(("open_mid", "high_mid", "low_mid", "close_mid"), middle),
        "spread": Decimal("0.01250000"),
        "min_spread": CENT,
        "max_spread": CENT * 4,
        "quoted_microseconds": 59_000_000,
        "quote_count": 900,
        "first_quote_at": start + timedelta(seconds=1),
        "last_quote_at": start + timedelta(seconds=59),
        "log_partition": 0,
        "last_offset": 1000 * (minute + 1),
    }


def reconciliation(table: str, *, drifted: int = 0) -> Row:
    """Return the record of a comparison of a table's layers."""
    numbers = ("missing_in_batch", "batch_ahead", "speed_ahead", "only_in_batch", "only_in_speed")
    return {
        "run_id": "1f0c",
        "interval_start": FIRST,
        "interval_end": FIRST + timedelta(hours=1),
        "table_name": table,
        "rows_compared": 1_240,
        "rows_drifted": drifted,
        **dict.fromkeys((*numbers, "pruned"), 0),
        "verdict": "DRIFT" if drifted else "AGREE",
        "recorded_at": FIRST + timedelta(hours=1, minutes=2),
    }


def dead_letters(reason: str, count: int) -> Iterable[Row]:
    """Yield what the lander refused for a reason."""
    for offset in range(count):
        yield {
            "topic": "market.trades",
            "topic_generation": 0,
            "kafka_partition": 1,
            "kafka_offset": offset,
            "stage": "lander",
            "reason": reason,
            "ingested_at": FIRST,
        }

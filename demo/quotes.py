"""What quotes come to by one naive pass: the oracle for `silver.quotes` and `gold.spreads_1m`.

Written without the platform's transforms, in plain Python.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from demo.acceptance import CLOCK_ALLOWANCE, OLDEST_EVENT
from demo.oracle import LoggedEvent, WindowKey

MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
_EIGHT_PLACES = Decimal("0.00000001")
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)

Row = dict[str, Any]
QuoteKey = tuple[str, str, int, datetime]


def naive_quotes(log: Iterable[LoggedEvent]) -> dict[QuoteKey, Row]:
    """Return the first report of each order book update, with the last position about it."""
    found: dict[QuoteKey, Row] = {}
    for logged in sorted(log, key=lambda one: one.position):
        quote = logged.event
        key = (quote["venue"], quote["symbol"], quote["update_id"], _minute(quote["event_time"]))
        stated = {name: value for name, value in quote.items() if name != "received_at"}
        row = found.setdefault(key, stated | {"quote_position": logged.position})
        row["last_offset"] = logged.position
    return found


def naive_spreads(log: Iterable[LoggedEvent]) -> dict[WindowKey, Row]:
    """Return the minutes of the quotes of a log, as `serving.spreads_1m` should have them."""
    minutes: dict[WindowKey, list[Row]] = defaultdict(list)
    for (venue, symbol, _, start), quote in naive_quotes(log).items():
        minutes[WindowKey(venue, symbol, start)].append(quote)
    return {key: _spread(key, quotes) for key, quotes in minutes.items()}


def quote_rejections(event: Mapping[str, Any], kafka_timestamp: datetime) -> tuple[str, ...]:
    """Return every reason to refuse an event about a quote."""
    bid, ask = event["bid_price"], event["ask_price"]
    broken = {
        "invalid_venue": not re.fullmatch("[a-z0-9_]{1,32}", event["venue"]),
        "invalid_symbol": not re.fullmatch("[A-Z0-9._-]{1,32}", event["symbol"]),
        "invalid_update_id": event["update_id"] < 0,
        "unknown_time_source": event["time_source"] not in ("EXCHANGE", "RECEIVED"),
        "event_time_too_old": event["event_time"] < OLDEST_EVENT,
        "event_time_in_future": event["event_time"] > kafka_timestamp + CLOCK_ALLOWANCE,
        "non_positive_price": min(bid, ask) <= 0,
        "non_positive_quantity": min(event["bid_quantity"], event["ask_quantity"]) <= 0,
        "unknown_quantity_unit": event["quantity_unit"] not in ("BASE", "CONTRACT"),
        "crossed_quote": bid > ask,
    }
    return tuple(reason for reason, holds in broken.items() if holds)


def _spread(key: WindowKey, quotes: list[Row]) -> Row:
    venue, symbol, start = key
    quotes = sorted(quotes, key=lambda quote: (quote["event_time"], quote["update_id"]))
    times = [quote["event_time"] for quote in quotes]
    mids = [(quote["bid_price"] + quote["ask_price"]) / 2 for quote in quotes]
    spreads = [quote["ask_price"] - quote["bid_price"] for quote in quotes]
    stood = [
        (until - since) // MICROSECOND
        for since, until in zip(times, [*times[1:], start + MINUTE], strict=True)
    ]
    weighted = sum((one * time for one, time in zip(spreads, stood, strict=True)), Decimal(0))
    return {
        "venue": venue,
        "symbol": symbol,
        "window_start": start,
        "open_mid": mids[0],
        "high_mid": max(mids),
        "low_mid": min(mids),
        "close_mid": mids[-1],
        "spread": _EXACT.divide(weighted, Decimal(sum(stood))).quantize(
            _EIGHT_PLACES, context=_EXACT
        ),
        "min_spread": min(spreads),
        "max_spread": max(spreads),
        "quoted_microseconds": sum(stood),
        "quote_count": len(quotes),
        "first_quote_at": times[0],
        "last_quote_at": times[-1],
        "last_offset": max(quote["last_offset"] for quote in quotes),
    }


def _minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)

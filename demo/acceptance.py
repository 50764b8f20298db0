"""Which events count: the validation rules again, independently of the platform's transforms."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

OLDEST_EVENT = datetime(2000, 1, 1, tzinfo=UTC)
LARGEST_NOTIONAL, LARGEST_CONTRACT = 10**15, 10**5
# An exchange's clock may run ahead of the broker's; an hour is a broken clock.
CLOCK_ALLOWANCE = timedelta(hours=1)

Event = Mapping[str, Any]


def accepted(event: Event, kafka_timestamp: datetime) -> str | None:
    """Return None for an event that counts, else the first reason to refuse it."""
    return next(iter(rejections(event, kafka_timestamp)), None)


def rejections(event: Event, kafka_timestamp: datetime) -> tuple[str, ...]:
    """Return every reason to refuse an event, in the order of the rules.

    Price and quantity rules hold for TRADE and CORRECTION: a CANCEL names a trade and no more.
    """
    kind = event["event_type"]
    broken = {
        "unknown_event_type": kind not in ("TRADE", "CORRECTION", "CANCEL"),
        "invalid_venue": re.fullmatch("[a-z0-9_]{1,32}", event["venue"]) is None,
        "invalid_symbol": re.fullmatch("[A-Z0-9._-]{1,32}", event["symbol"]) is None,
    }
    if kind != "CANCEL":
        price, quantity, unit = event["price"], event["quantity"], event["quantity_unit"]
        broken |= {
            "missing_price": price is None,
            "non_positive_price": price is not None and price <= 0,
            "missing_quantity": quantity is None,
            "non_positive_quantity": quantity is not None and quantity <= 0,
            "unknown_quantity_unit": unit not in ("BASE", "CONTRACT"),
            # A contract that is worth nothing gives no quantity: as good as no size at all.
            "missing_contract_size": unit == "CONTRACT" and (event["contract_size"] or 0) <= 0,
            # Larger ones would overflow the columns that hold sums.
            "implausible_size": (price or 0) * (quantity or 0) > LARGEST_NOTIONAL
            or (event["contract_size"] or 0) > LARGEST_CONTRACT,
        }
    broken |= {
        "event_time_too_old": event["event_time"] < OLDEST_EVENT,
        "event_time_in_future": event["event_time"] > kafka_timestamp + CLOCK_ALLOWANCE,
        "invalid_trade_id": event["trade_id"] < 0,
    }
    return tuple(reason for reason, holds in broken.items() if holds)

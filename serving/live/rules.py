"""Which events count: the rules of `lakehouse.transforms`, for one event at a time.

Written a second time, in plain Python, reason by reason and in the same order (decision record 11).
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from lakehouse.transforms.bounds import (
    EARLIEST_EVENT_TIME,
    LATEST_AHEAD_OF_LOG,
    MAX_CONTRACT_SIZE,
    MAX_NOTIONAL,
    SYMBOL,
    VENUE,
)
from serving.live.digits import units

Event = Mapping[str, Any]
# Tells of an event, and of when the broker appended it, whether a rule is broken.
Rules = Mapping[str, Callable[[Event, datetime], bool]]

# In units of 10⁻¹⁶, as the product of a price and a quantity is.
MAX_TRADE_NOTIONAL = int(MAX_NOTIONAL.scaleb(16))
# That of the transform of fills, which cannot be imported without Spark.
MAX_FILL_NOTIONAL = 10**14 * 10**16

_is_venue = re.compile(VENUE).fullmatch
_is_symbol = re.compile(SYMBOL).fullmatch
_is_customer = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


def first_broken(rules: Rules, event: Event, appended_at: datetime) -> str | None:
    """Return the reason of the first rule that an event breaks; None for one that counts."""
    for reason, is_broken in rules.items():
        if is_broken(event, appended_at):
            return reason
    return None


_INSTRUMENT: Rules = {
    "invalid_venue": lambda event, _: not _is_venue(event["venue"]),
    "invalid_symbol": lambda event, _: not _is_symbol(event["symbol"]),
}
_TIME: Rules = {
    "event_time_too_old": lambda event, _: event["event_time"] < EARLIEST_EVENT_TIME,
    "event_time_in_future": lambda event, at: event["event_time"] > at + LATEST_AHEAD_OF_LOG,
}


def _of_execution(kind: str) -> dict[str, Callable[[Event, datetime], bool]]:
    """Return the rules on price and quantity, which hold for all but events of one type."""

    def is_missing(name: str) -> Callable[[Event, datetime], bool]:
        return lambda event, _: event["event_type"] != kind and event[name] is None

    def is_not_positive(name: str) -> Callable[[Event, datetime], bool]:
        return lambda event, _: event["event_type"] != kind and event[name] <= 0

    return {
        "missing_price": is_missing("price"),
        "non_positive_price": is_not_positive("price"),
        "missing_quantity": is_missing("quantity"),
        "non_positive_quantity": is_not_positive("quantity"),
    }


def _notional(event: Event) -> int:
    return units(event["price"]) * units(event["quantity"])


TRADE_RULES: Rules = {
    "unknown_event_type": lambda event, _: (
        event["event_type"] not in ("TRADE", "CORRECTION", "CANCEL")
    ),
    **_INSTRUMENT,
    "invalid_trade_id": lambda event, _: event["trade_id"] < 0,
    **_TIME,
    **_of_execution("CANCEL"),
    "unknown_quantity_unit": lambda event, _: (
        event["event_type"] != "CANCEL" and event["quantity_unit"] not in ("BASE", "CONTRACT")
    ),
    "missing_contract_size": lambda event, _: (
        event["event_type"] != "CANCEL"
        and event["quantity_unit"] == "CONTRACT"
        and (event["contract_size"] or 0) <= 0
    ),
    "implausible_size": lambda event, _: (
        event["event_type"] != "CANCEL"
        and (
            _notional(event) > MAX_TRADE_NOTIONAL
            or (event["contract_size"] or 0) > MAX_CONTRACT_SIZE
        )
    ),
}
QUOTE_RULES: Rules = {
    **_INSTRUMENT,
    "invalid_update_id": lambda event, _: event["update_id"] < 0,
    "unknown_time_source": lambda event, _: event["time_source"] not in ("EXCHANGE", "RECEIVED"),
    **_TIME,
    "non_positive_price": lambda event, _: min(event["bid_price"], event["ask_price"]) <= 0,
    "non_positive_quantity": lambda event, _: (
        min(event["bid_quantity"], event["ask_quantity"]) <= 0
    ),
    "unknown_quantity_unit": lambda event, _: event["quantity_unit"] not in ("BASE", "CONTRACT"),
    "crossed_quote": lambda event, _: event["bid_price"] > event["ask_price"],
}
FILL_RULES: Rules = {
    "unknown_event_type": lambda event, _: event["event_type"] not in ("FILL", "BUST"),
    "invalid_customer_id": lambda event, _: not _is_customer(event["customer_id"]),
    "invalid_order_id": lambda event, _: event["order_id"] < 0,
    "invalid_fill_id": lambda event, _: event["fill_id"] < 0,
    **_INSTRUMENT,
    **_TIME,
    "unknown_side": lambda event, _: (
        event["event_type"] == "FILL" and event["side"] not in ("BUY", "SELL")
    ),
    **_of_execution("BUST"),
    "missing_fee": lambda event, _: event["event_type"] == "FILL" and event["fee"] is None,
    "implausible_size": lambda event, _: (
        event["event_type"] == "FILL" and _notional(event) > MAX_FILL_NOTIONAL
    ),
}

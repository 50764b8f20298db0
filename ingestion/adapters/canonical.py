"""The canonical events that every venue's frames are turned into."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypedDict, TypeGuard

from lakehouse.errors import LakehouseError
from lakehouse.kafka import instrument_key

MICROSECONDS_PER_MILLISECOND: Final = 1_000

# Prices and quantities are decimal(18,8): ten digits before the point and eight after it.
MAX_INTEGER_DIGITS: Final = 10
MAX_DECIMAL_PLACES: Final = 8
MAX_LONG: Final = 2**63 - 1

# Times outside the calendar's years 1..9999 have no date, so no reader could show them.
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MIN_EVENT_TIME: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
MAX_EVENT_TIME: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)

# What a detail shows of an offending value; the whole frame is in the dead letter.
_SHOWN_CHARACTERS: Final = 60

# [0-9] and not \d: the latter also matches the digits of other scripts.
_DECIMAL = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?")


class TradeEvent(TypedDict):
    """One event about a trade: it happened, it was corrected, or it was cancelled.

    Times are UTC microseconds since 1970. Prices are in the quote currency. The quantity is what
    the venue reports, in ``quantity_unit``: ``BASE`` (coins) or ``CONTRACT``, each contract being
    worth ``contract_size`` of the quote currency.
    """

    event_type: str
    venue: str
    symbol: str
    trade_id: int
    event_time: int
    price: Decimal | None
    quantity: Decimal | None
    quantity_unit: str
    contract_size: Decimal | None
    aggressor_side: str | None
    received_at: int | None


class QuoteEvent(TypedDict):
    """The best bid and offer of an instrument at one moment.

    Times are UTC microseconds since 1970; ``time_source`` tells whose clock ``event_time`` is of:
    ``EXCHANGE``, or ``RECEIVED`` where the venue states no time. Prices are in the quote currency,
    quantities in ``quantity_unit`` as those of a trade.
    """

    venue: str
    symbol: str
    update_id: int
    event_time: int
    time_source: str
    bid_price: Decimal
    bid_quantity: Decimal
    ask_price: Decimal
    ask_quantity: Decimal
    quantity_unit: str
    received_at: int | None


MarketEvent = TradeEvent | QuoteEvent


def is_trade(event: MarketEvent) -> TypeGuard[TradeEvent]:
    """Tell trades from quotes."""
    return "trade_id" in event


class FrameRejectedError(LakehouseError):
    """A frame that claims to be a trade or a quote cannot be read as one.

    Attributes:
        reason: Why, as one snake_case word that dashboards can count.
        detail: What was found where, as a sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def event_key(event: MarketEvent) -> bytes:
    """Return the log key of an event: that of its instrument."""
    return instrument_key(event["venue"], event["symbol"])


def decimal_field(fields: dict[str, object], name: str) -> Decimal:
    """Read a string of decimal digits that fits decimal(18,8) exactly.

    Raises:
        FrameRejectedError: ``missing_field``, ``wrong_type``, ``malformed_decimal`` (which includes
            ``NaN``, ``Infinity`` and exponents) or ``decimal_out_of_range``.
    """
    text = string_field(fields, name)
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise FrameRejectedError(
            "malformed_decimal", f"field {name!r} is {shown(text)}, not a plain decimal number"
        )
    integer, places = match.group(1), match.group(2) or ""
    if len(integer.lstrip("0")) > MAX_INTEGER_DIGITS or len(places) > MAX_DECIMAL_PLACES:
        raise FrameRejectedError(
            "decimal_out_of_range",
            f"field {name!r} is {shown(text)}: it needs more than "
            f"{MAX_INTEGER_DIGITS} digits before the point or {MAX_DECIMAL_PLACES} after it",
        )
    return Decimal(text)


def string_field(fields: dict[str, object], name: str) -> str:
    """Read a string that can be written as UTF-8."""
    value = _field(fields, name)
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise FrameRejectedError(
                "malformed_encoding", f"field {name!r} holds half of a surrogate pair"
            ) from None
    return value


def integer_field(fields: dict[str, object], name: str) -> int:
    """Read a whole number that fits 64 bits; JSON's true and false are not numbers."""
    value = _field(fields, name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, value, "a whole number")
    if not -MAX_LONG - 1 <= value <= MAX_LONG:
        raise FrameRejectedError(
            "integer_out_of_range", f"field {name!r} is {shown(value)}: it needs more than 64 bits"
        )
    return value


def boolean_field(fields: dict[str, object], name: str) -> bool:
    """Read JSON's true or false."""
    value = _field(fields, name)
    if not isinstance(value, bool):
        raise _wrong_type(name, value, "true or false")
    return value


def milliseconds_field(fields: dict[str, object], name: str) -> int:
    """Read a UTC time in milliseconds since 1970; returns it in microseconds."""
    time = integer_field(fields, name) * MICROSECONDS_PER_MILLISECOND
    if not MIN_EVENT_TIME <= time <= MAX_EVENT_TIME:
        raise FrameRejectedError(
            "timestamp_out_of_range",
            f"field {name!r} is {shown(fields[name])} ms: it is outside the years 1 to 9999",
        )
    return time


def shown(value: object) -> str:
    """Return a value as a detail shows it: quoted if it is text, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _field(fields: dict[str, object], name: str) -> object:
    if name not in fields:
        raise FrameRejectedError("missing_field", f"field {name!r} is missing")
    return fields[name]


def _wrong_type(name: str, value: object, expected: str) -> FrameRejectedError:
    return FrameRejectedError(
        "wrong_type", f"field {name!r} is {shown(value)} ({type(value).__name__}), not {expected}"
    )

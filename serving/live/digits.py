"""Exact numbers as whole ones: a decimal as so many units of its last place.

Whole numbers of any length are exact without a thought about precision, and adding them up costs a
third of what decimals cost.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CENTI_NANO = 8
MINUTE_US = 60_000_000


def units(value: Decimal) -> int:
    """Return a number of up to 8 places in units of 10⁻⁸."""
    return int(value.scaleb(_CENTI_NANO))


def half_up(numerator: int, denominator: int) -> int:
    """Divide a number that is not negative by one above zero; rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def text(value: int | None, places: int) -> str | None:
    """Return units of the last of some places as a decimal with all its digits."""
    if value is None:
        return None
    digits = f"{abs(value):0{places + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def micros(time: datetime) -> int:
    """Return microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def minute_of(time_us: int) -> int:
    """Return the start of the UTC minute that a time falls in."""
    return time_us - time_us % MINUTE_US


def instant(time_us: int | None) -> str | None:
    """Return microseconds since 1970 as ISO 8601 in UTC."""
    if time_us is None:
        return None
    time = _EPOCH + time_us * _MICROSECOND
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond:06d}Z"

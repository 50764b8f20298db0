"""Whether a value of a file is one that its column can have."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pyiceberg.types import DateType, DecimalType, IcebergType, LongType, TimestamptzType

from ingestion.adapters.canonical import MAX_EVENT_TIME, MAX_LONG, MIN_EVENT_TIME, shown
from ingestion.files.rows import Number
from schemas import FileColumn

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# [0-9] and not \d: the latter also matches the digits of other scripts. An exponent is how some
# programs write small prices; with more than three digits it is none.
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
# A day, or the midnight that a program without days writes for it.
_DAY: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]00:00:00(?:\.0{1,9})?(?:Z|\+00:00)?)?"
)


class ValueFaultError(ValueError):
    """A value is none of its column's.

    Attributes:
        reason: Why, as one snake_case word.
        is_type: It is of another type altogether. If all values of a column are, the column has
            changed its type.
    """

    def __init__(self, reason: str, detail: str, *, is_type: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.is_type = is_type


def check_value(column: FileColumn, value: Any) -> None:
    """See that a value can be read as its column's type, and obeys the column's rules.

    Args:
        column: What the contract says of it.
        value: None, text, `Number`, or what else JSON knows.

    Raises:
        ValueFaultError: It cannot, or does not; names the column.
    """
    if value is None or value == "":
        if column.required:
            raise ValueFaultError("missing_value", f"{column.name} is empty")
        return
    if not isinstance(value, str):
        raise _no(column, value, "wrong_type", f"{column.type}")
    number = _READERS.get(type(column.type), _text)(column, value)
    if column.pattern is not None and not re.fullmatch(column.pattern, value):
        raise ValueFaultError(
            "pattern_mismatch", f"{column.name} is {shown(value)}, not like {column.pattern}"
        )
    if column.values and value not in column.values:
        raise ValueFaultError(
            "unknown_value", f"{column.name} is {shown(value)}, not one of {list(column.values)}"
        )
    if number is not None:
        _check_bounds(column, value, number)


def _check_bounds(column: FileColumn, value: str, number: Decimal) -> None:
    if column.minimum is not None and number < column.minimum:
        raise ValueFaultError(
            "out_of_range", f"{column.name} is {shown(value)}, less than {column.minimum}"
        )
    if column.above is not None and number <= column.above:
        raise ValueFaultError(
            "out_of_range", f"{column.name} is {shown(value)}, not above {column.above}"
        )


def _text(column: FileColumn, value: str) -> None:
    if isinstance(value, Number):
        # As a number it has lost the zeros that it began with, if it had any.
        raise _no(column, value, "wrong_type", "text")


def _long(column: FileColumn, value: str) -> Decimal:
    if not _INTEGER.fullmatch(value):
        raise _no(column, value, "malformed_integer", "a whole number")
    if not -MAX_LONG - 1 <= int(value) <= MAX_LONG:
        raise ValueFaultError(
            "integer_out_of_range", f"{column.name} is {shown(value)}: more than 64 bits"
        )
    return Decimal(value)


def _decimal(column: FileColumn, value: str) -> Decimal:
    if not _DECIMAL.fullmatch(value):
        raise _no(column, value, "malformed_decimal", "a decimal number")
    number = Decimal(value)
    kind = column.type
    assert isinstance(kind, DecimalType)  # noqa: S101 - how it came here
    places, before = _digits(number)
    if places > kind.scale or before > kind.precision - kind.scale:
        raise ValueFaultError(
            "decimal_out_of_range",
            f"{column.name} is {shown(value)}: it needs more than {kind.precision - kind.scale} "
            f"digits before the point or {kind.scale} after it",
        )
    return number


def _digits(number: Decimal) -> tuple[int, int]:
    """Return how many digits a number needs after the point and before it."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - the text was one of a finite number
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    exponent += len(text) - len(stripped)
    return max(0, -exponent) if stripped else 0, max(0, len(stripped) + exponent)


def _date(column: FileColumn, value: str) -> None:
    found = _DAY.fullmatch(value)
    try:
        date.fromisoformat(found[1] if found else "")
    except ValueError:
        raise _no(column, value, "malformed_date", "a day such as 2024-08-09") from None


def _timestamp(column: FileColumn, value: str) -> None:
    micros = int(value) if _INTEGER.fullmatch(value) else _micros(column, value)
    if not MIN_EVENT_TIME <= micros <= MAX_EVENT_TIME:
        raise ValueFaultError(
            "timestamp_out_of_range", f"{column.name} is {shown(value)}: not in the years 1 to 9999"
        )


def _micros(column: FileColumn, value: str) -> int:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or isinstance(value, Number):
        expected = "a time with a zone such as 2024-08-09T00:00:00Z, or microseconds since 1970"
        raise _no(column, value, "malformed_timestamp", expected)
    return (moment - _EPOCH) // timedelta(microseconds=1)


_READERS: Final[dict[type[IcebergType], Callable[[FileColumn, str], Decimal | None]]] = {
    LongType: _long,
    DecimalType: _decimal,
    DateType: _date,
    TimestamptzType: _timestamp,
}


def _no(column: FileColumn, value: Any, reason: str, expected: str) -> ValueFaultError:
    detail = f"{column.name} is {shown(value)}, not {expected}"
    return ValueFaultError(reason, detail, is_type=True)

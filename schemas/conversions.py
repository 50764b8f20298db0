"""Avro's logical types, converted strictly.

fastavro rounds a decimal that has more digits than its schema allows; a price must be refused
instead. So the codec reads and writes the physical types and converts them here.
"""

from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Protocol, cast

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Converter(Protocol):
    """Converts one logical type to and from its physical type."""

    def to_avro(self, value: Any) -> Any:
        """Return the physical value; raises ValueError or TypeError if there is none."""

    def from_avro(self, value: Any) -> Any:
        """Return the logical value; raises ValueError or OverflowError if there is none."""


class TimestampMicros:
    """``timestamp-micros``: microseconds since 1970, UTC; given so or as a ``datetime``."""

    def to_avro(self, value: Any) -> int:
        """Return microseconds since 1970; a whole number is that already.

        Raises TypeError for a time without a zone, OverflowError outside the years 1 to 9999.
        """
        if type(value) is int:
            self.from_avro(value)
            return value
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise TypeError(f"{value!r} is neither a datetime with a time zone nor microseconds")
        return (value - EPOCH) // MICROSECOND

    def from_avro(self, value: int) -> datetime:
        """Return the time in UTC; raises OverflowError outside the years 1 to 9999."""
        return EPOCH + timedelta(microseconds=value)


class DecimalBytes:
    """``decimal`` on ``bytes``: the unscaled number, big-endian two's complement."""

    def __init__(self, precision: int, scale: int) -> None:
        self._scale = scale
        self._unit = Decimal(1).scaleb(-scale)
        self._limit: int = 10**precision
        self._strict = Context(prec=precision, traps=[Inexact, InvalidOperation])

    def to_avro(self, value: Any) -> bytes:
        """Return the unscaled bytes; raises ValueError if digits would be lost."""
        if not isinstance(value, Decimal):
            raise TypeError(f"{value!r} is not a Decimal")
        try:
            exact = value.quantize(self._unit, context=self._strict)
        except (Inexact, InvalidOperation) as error:
            raise ValueError(
                f"{value} does not fit decimal({self._strict.prec},{self._scale})"
            ) from error
        unscaled = int(exact.scaleb(self._scale, self._strict))
        return unscaled.to_bytes(_byte_count(unscaled), "big", signed=True)

    def from_avro(self, value: bytes) -> Decimal:
        """Return the decimal at the schema's scale; raises ValueError for too many digits."""
        unscaled = int.from_bytes(value, "big", signed=True)
        if len(value) != _byte_count(unscaled):
            raise ValueError(f"a decimal in {len(value)} bytes, needs {_byte_count(unscaled)}")
        if not -self._limit < unscaled < self._limit:
            raise ValueError(f"a decimal of more than {self._strict.prec} digits")
        return Decimal(unscaled).scaleb(-self._scale, self._strict)


def _byte_count(unscaled: int) -> int:
    """Return how many bytes the two's complement of a number needs at least."""
    return (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1


def conversions(record: dict[str, Any]) -> list[tuple[str, Converter]]:
    """Return the fields of a record schema that have a logical type, with their converters.

    Raises:
        ValueError: A logical type that has no converter, or that is within a nested record.
    """
    found = [(field["name"], converter_of(field["type"])) for field in record["fields"]]
    return [(name, converter) for name, converter in found if converter is not None]


def converter_of(schema: Any) -> Converter | None:
    """Return the converter of a type, or of the one non-null branch of an optional type.

    Raises:
        ValueError: A logical type that has no converter, or that is within a nested record.
    """
    if isinstance(schema, list):
        branches = [converter_of(branch) for branch in schema if branch != "null"]
        if len(branches) > 1 and any(branches):
            raise ValueError("a logical type may only be united with null")
        return branches[0] if branches else None
    if isinstance(schema, dict) and schema.get("type") == "record" and conversions(schema):
        raise ValueError(f"no converter for logical types within a record, {schema['name']}")
    if not isinstance(schema, dict) or "logicalType" not in schema:
        return None
    match schema:
        case {"type": "long", "logicalType": "timestamp-micros"}:
            return TimestampMicros()
        case {"type": "bytes", "logicalType": "decimal", "precision": int(precision)}:
            return DecimalBytes(precision, cast(int, schema.get("scale", 0)))
    raise ValueError(f"no converter for logical type {schema['logicalType']}")


def physical(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record schema whose fields have their physical types only."""
    fields = [{**field, "type": _physical_type(field["type"])} for field in record["fields"]]
    return {**record, "fields": fields}


def _physical_type(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_physical_type(branch) for branch in schema]
    if isinstance(schema, dict) and "logicalType" in schema:
        return schema["type"]
    return schema

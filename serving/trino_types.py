"""Trino's types as Arrow's: the same that the embedded engine answers with."""

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
from sqlglot import exp

Kind = exp.DType
# An instant, a time and a span are microseconds, everywhere in the lake.
_PLAIN: dict[exp.DType, pa.DataType] = {
    Kind.BOOLEAN: pa.bool_(),
    Kind.TINYINT: pa.int8(),
    Kind.SMALLINT: pa.int16(),
    Kind.INT: pa.int32(),
    Kind.BIGINT: pa.int64(),
    Kind.FLOAT: pa.float32(),
    Kind.DOUBLE: pa.float64(),
    Kind.VARBINARY: pa.binary(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
}


def arrow_type(trino_type: str) -> pa.DataType:
    """Return the Arrow type for what Trino calls the type of a column.

    What Arrow has no type for (JSON, UUID, addresses, intervals) is text.

    >>> arrow_type("decimal(38, 8)")
    Decimal128Type(decimal128(38, 8))
    >>> arrow_type("timestamp(6) with time zone")
    TimestampType(timestamp[us, tz=UTC])
    """
    if trino_type == "unknown":  # of NULL without a cast
        return pa.null()
    if trino_type.startswith("INTERVAL"):
        return pa.string()
    return _arrow_type(exp.DataType.build(trino_type, dialect="trino"))


def arrow_column(values: Iterable[object], to: pa.DataType) -> pa.Array:
    """Return a column of what Trino's client made of the answer.

    Args:
        values: Python values, null as None.
        to: The type, of ``arrow_type``.
    """
    convert = _converter(to)
    return pa.array(values if convert is None else [convert(v) for v in values], to)


def _arrow_type(parsed: exp.Expr) -> pa.DataType:
    inner = parsed.expressions
    match parsed.this:
        case Kind.DECIMAL:
            precision, scale = (int(part.name) for part in inner)
            return pa.decimal128(precision, scale)
        case Kind.ARRAY:
            return pa.list_(_arrow_type(inner[0]))
        case Kind.MAP:
            return pa.map_(_arrow_type(inner[0]), _arrow_type(inner[1]))
        case Kind.STRUCT:
            return pa.struct(_fields(inner))
        case kind:
            return _PLAIN.get(kind, pa.string())


def _fields(parts: list[exp.Expr]) -> list[pa.Field]:
    fields = []
    for place, part in enumerate(parts):
        named = isinstance(part, exp.ColumnDef)
        kind = part.args["kind"] if named else part
        fields.append(pa.field(part.name if named else f"field{place}", _arrow_type(kind)))
    return fields


def _converter(to: pa.DataType) -> Callable[[Any], Any] | None:
    """Return what makes values of the client fit for Arrow; None where they are already."""
    if pa.types.is_string(to):
        return lambda value: None if value is None else str(value)
    if pa.types.is_list(to) and (element := _converter(to.value_type)):
        return lambda value: None if value is None else [element(part) for part in value]
    if pa.types.is_map(to):
        key, item = _converter(to.key_type) or _same, _converter(to.item_type) or _same
        return lambda value: (
            None if value is None else [(key(k), item(v)) for k, v in value.items()]
        )
    if pa.types.is_struct(to):
        fields = [(field.name, _converter(field.type) or _same) for field in to]
        return lambda value: (
            None
            if value is None
            else {name: part(v) for (name, part), v in zip(fields, value, strict=True)}
        )
    return None


def _same(value: Any) -> Any:
    return value

"""Writes flat Avro records several times faster than a general writer, from the same schema.

A producer spends most of its time encoding. An event's fields repeat, though: few venues,
symbols, prices and sizes make up millions of events. So each field's bytes are remembered, and an
event is a concatenation of them. The result is byte for byte what any Avro writer gives (Apache
Avro 1.11 specification, "Binary encoding").
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import schemas
from lakehouse.broker import TRADES_TOPIC
from lakehouse.errors import LakehouseError
from schemas.registry import SchemaRegistry
from schemas.wire import HEADER, MAGIC_BYTE

FieldEncoder = Callable[[Any], bytes]

# Enough for all prices of a few hundred symbols; a miss costs a microsecond.
_REMEMBERED_VALUES: Final = 1 << 16
_CONTINUED: Final = 0x80
_LONGS: Final = 1 << 63


class UnsupportedSchemaError(LakehouseError):
    """The schema has a field that only a general Avro writer can write."""


class UnencodableError(LakehouseError):
    """A value does not fit its field."""


def trade_encoder(registry: SchemaRegistry) -> Callable[[Mapping[str, Any]], bytes]:
    """Return the function from trade events to messages in the wire format.

    It writes the newest schema version that the topic's contract states.

    Raises:
        UnknownSchemaError: The registry does not have that version.
        UnsupportedSchemaError: See ``record_encoder``.
    """
    schema_id = schemas.topics()[TRADES_TOPIC].versions[-1].id
    schema = json.loads(registry.schema_for(schema_id))
    return record_encoder(schema, HEADER.pack(MAGIC_BYTE, schema_id))


def record_encoder(
    schema: Mapping[str, Any], prefix: bytes = b""
) -> Callable[[Mapping[str, Any]], bytes]:
    """Return a function from records to ``prefix`` and their Avro body.

    Args:
        schema: A record of strings, longs and decimals, each perhaps in a union with null. Times
            are given as the number that they are stored as. Optional fields may be left out.
        prefix: What each message begins with, such as the wire format's schema id.

    Raises:
        UnsupportedSchemaError: The schema has a field of another type.
        UnencodableError: (by the function) A value is missing or does not fit.
    """
    fields = [
        (field["name"], _field_encoder(field["name"], field["type"])) for field in schema["fields"]
    ]

    def encode(record: Mapping[str, Any]) -> bytes:
        try:
            return prefix + b"".join([encoder(record.get(name)) for name, encoder in fields])
        except (AttributeError, TypeError) as error:
            raise UnencodableError(f"the event does not fit its schema: {error}") from error

    return encode


def _field_encoder(name: str, avro_type: Any) -> FieldEncoder:
    if not isinstance(avro_type, list):
        return _remembering(avro_type, _plain_encoder(name, avro_type))
    if len(avro_type) != 2 or avro_type[0] != "null":  # noqa: PLR2004 - null and one type
        raise UnsupportedSchemaError(f"field {name} is a union of {avro_type}")
    encode, null, present = _plain_encoder(name, avro_type[1]), _long(0), _long(1)

    def optional(value: Any) -> bytes:
        return null if value is None else present + encode(value)

    return _remembering(avro_type[1], optional)


def _plain_encoder(name: str, avro_type: Any) -> FieldEncoder:
    stated = avro_type if isinstance(avro_type, dict) else {"type": avro_type}
    match stated["type"], stated.get("logicalType"):
        case "string", None:
            return _string
        case "long", _:
            return _long
        case "bytes", "decimal":
            return _decimal_encoder(name, stated["precision"], stated["scale"])
    raise UnsupportedSchemaError(f"field {name} is of type {avro_type}")


def _remembering(avro_type: Any, encode: FieldEncoder) -> FieldEncoder:
    """Remember what values became, except for longs: ids and times do not repeat."""
    is_long = avro_type == "long" or (isinstance(avro_type, dict) and avro_type["type"] == "long")
    return encode if is_long else lru_cache(_REMEMBERED_VALUES)(encode)


def _long(value: int) -> bytes:
    """Zigzag, then seven bits a byte, least significant first.

    Ids and times grow slowly, so all but their two lowest bytes is remembered.
    """
    if not -_LONGS <= value < _LONGS:
        raise UnencodableError(f"{value} needs more than 64 bits")
    zigzag = (value << 1) ^ (value >> 63)
    if zigzag < _TWO_BYTES:
        return _varint(zigzag)
    return _LOW_BYTES[zigzag & _TWO_BYTES - 1] + _varint(zigzag >> 14)


@lru_cache(_REMEMBERED_VALUES)
def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= _CONTINUED:
        encoded.append(value & 0x7F | _CONTINUED)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# Two bytes of seven bits each, both of which say that more follow.
_TWO_BYTES: Final = 1 << 14
_LOW_BYTES: Final = tuple(
    bytes((low & 0x7F | _CONTINUED, low >> 7 | _CONTINUED)) for low in range(_TWO_BYTES)
)


def _string(value: str) -> bytes:
    encoded = value.encode()
    return _long(len(encoded)) + encoded


def _decimal_encoder(name: str, precision: int, scale: int) -> Callable[[Decimal], bytes]:
    def encode(value: Decimal) -> bytes:
        unscaled = int(value.scaleb(scale)) if value.is_finite() else 0
        if abs(unscaled) >= 10**precision or Decimal(unscaled).scaleb(-scale) != value:
            raise UnencodableError(f"{name} is {value}, which is no decimal({precision},{scale})")
        # Two's complement in the fewest bytes: -128 takes one, as 127 does.
        bits = (unscaled if unscaled >= 0 else ~unscaled).bit_length()
        encoded = unscaled.to_bytes(bits // 8 + 1, "big", signed=True)
        return _long(len(encoded)) + encoded

    return encode

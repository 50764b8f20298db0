"""Reads a refused payload as far as it goes, for a person to look at.

Values are shown as they are stored. What is encrypted in an event stays so: nothing here has a key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader

import schemas
from ingestion.dead_letters.letters import DeadLetter
from schemas.conversions import conversions, physical
from schemas.registry import SchemaRegistry, UnknownSchemaError, registered_schema
from schemas.wire import AVRO_ERRORS, HEADER, MAGIC_BYTE


@dataclass(frozen=True)
class Decoded:
    """What can be read of a payload.

    Attributes:
        schema_id: The writer's schema, as the payload's header names it.
        fields: The event's fields, as far as they could be read, in order.
        text: The payload as text, if it is one.
        problem: Why no more could be read.
    """

    schema_id: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    problem: str | None = None


def decode(letter: DeadLetter, registry: SchemaRegistry) -> Decoded:
    """Return what can be read of a letter's payload; nothing in it is an error."""
    payload = letter.payload
    if not payload:
        return Decoded(problem="there is no payload")
    if letter.place is None or letter.place.topic not in schemas.landed_topics():
        return Decoded(text=_text(payload))
    if payload[0] != MAGIC_BYTE or len(payload) < HEADER.size:
        problem = "is not framed as an event: a zero byte, then the schema's id in four bytes"
        return Decoded(text=_text(payload), problem=problem)
    schema_id = int.from_bytes(payload[1 : HEADER.size], "big")
    try:
        writer = registered_schema(registry, schema_id)
    except UnknownSchemaError as error:
        return Decoded(schema_id, problem=str(error))
    return _decode_avro(payload, schema_id, writer)


def _decode_avro(payload: bytes, schema_id: int, writer: dict[str, Any]) -> Decoded:
    stored = physical(writer)
    record: dict[str, Any] = {}
    end = HEADER.size
    problem = None
    for count, following in enumerate(stored["fields"], start=1):
        buffer = BytesIO(payload)
        buffer.seek(HEADER.size)
        # A record of the first fields is the beginning of one of all.
        beginning = {**stored, "fields": stored["fields"][:count]}
        try:
            record = schemaless_reader(buffer, parse_schema(beginning), None)
        except AVRO_ERRORS as error:
            what = f"{type(error).__name__}: {error}"
            problem = f"field {following['name']}, from byte {end} on: {what}"
            break
        end = buffer.tell()
    if problem is None and end < len(payload):
        problem = f"{len(payload) - end} bytes are left after the event"
    return Decoded(schema_id, _converted(record, writer), problem=problem)


def _converted(record: dict[str, Any], writer: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with times and decimals as such; as stored where they are none."""
    shown = dict(record)
    for name, converter in conversions(writer):
        if (value := shown.get(name)) is not None:
            try:
                shown[name] = converter.from_avro(value)
            except (ValueError, OverflowError):
                continue
    return {name: _plain(value) for name, value in shown.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; bytes in hex, decimals with all their digits."""
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat()
        case dict():
            return {name: _plain(part) for name, part in value.items()}
        case list():
            return [_plain(part) for part in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None

"""Events on the wire: a zero byte, the schema's id in four bytes, then the Avro body.

The framing is that of Confluent's serializers. A payload is decoded with the schema that wrote
it, then resolved to the newest version of its topic; whatever is wrong with it is told as one
error with a reason that a dead letter can carry.

The codec is strict: a payload is an event only if it is byte for byte what encoding that event
gives. Other readers let some malformed Avro pass (bytes left over, numbers with superfluous
bytes, broken UTF-8), so a layer must not mix this codec's word with another reader's.
"""

import struct
from collections.abc import Mapping
from enum import StrEnum
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError
from fastavro.validation import ValidationError, validate

import schemas
from lakehouse.errors import LakehouseError
from schemas.contract import Topic
from schemas.conversions import Converter, conversions, physical
from schemas.registry import (
    IncompatibleSchemaError,
    SchemaRegistry,
    UnknownSchemaError,
    registered_schema,
    unreadable,
)

MAGIC_BYTE = 0
HEADER = struct.Struct(">bI")
TRADES_TOPIC = "market.trades"
# What fastavro raises on bytes that are no Avro; a fuzz test holds the list complete.
AVRO_ERRORS = (
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
    SchemaResolutionError,
)


class Reason(StrEnum):
    """Why a payload cannot be decoded, as dead letters state it."""

    EMPTY_PAYLOAD = "empty_payload"
    BAD_MAGIC_BYTE = "bad_magic_byte"
    TRUNCATED_PAYLOAD = "truncated_payload"
    UNKNOWN_SCHEMA_ID = "unknown_schema_id"
    UNDECODABLE_PAYLOAD = "undecodable_payload"
    PAYLOAD_TOO_LARGE = "payload_too_large"


class UndecodableError(LakehouseError):
    """A payload is no event of its topic; carries the reason and a detail in words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class UnencodableError(LakehouseError):
    """An event does not fit the schema of its topic; names the field."""


class EventCodec:
    """Encodes and decodes the events of one topic; give each thread its own."""

    def __init__(
        self, registry: SchemaRegistry, max_payload_bytes: int, topic: Topic | None = None
    ) -> None:
        """Prepare the topic's newest schema, which events are written with and resolved to.

        Args:
            registry: Where schema ids come from.
            max_payload_bytes: Longer payloads are refused, framing included.
            topic: A topic that has schema versions; the trade events when left out.

        Raises:
            UnencodableError: The topic has no schema.
            UnknownSchemaError: The registry does not know one of the topic's schemas.
            IncompatibleSchemaError: One of them cannot read what an earlier one wrote.
        """
        topic = topic or schemas.topics()[TRADES_TOPIC]
        if not topic.versions:
            raise UnencodableError(f"{topic.name} is a topic of raw bytes, it has no schema")
        self._registry = registry
        self._event_time = topic.event_time
        self.max_payload_bytes = max_payload_bytes
        ids = registry.ids(topic)
        versions = {number: registered_schema(registry, number) for number in ids}
        if problems := unreadable(topic.subject or topic.name, versions):
            raise IncompatibleSchemaError("\n".join(problems))
        self.schema_id = ids[-1]
        newest = versions[self.schema_id]
        self._conversions: list[tuple[str, Converter]] = conversions(newest)
        self._reader = parse_schema(physical(newest))
        self._fields = frozenset(field["name"] for field in newest["fields"])
        self._writers: dict[int, Any] = {self.schema_id: self._reader}
        self._header = HEADER.pack(MAGIC_BYTE, self.schema_id)

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return the payload of an event.

        Args:
            event: Values by field name: ``datetime`` with a zone or microseconds since 1970 for
                timestamps, ``Decimal`` for decimals. Fields with a default may be left out.

        Raises:
            UnencodableError: A value is missing, of the wrong type or does not fit; or the event
                has a field that the schema does not.
        """
        if not self._fields.issuperset(event):
            unknown = sorted(event.keys() - self._fields)
            raise UnencodableError(f"{', '.join(unknown)}: not a field of the event")
        record = dict(event)
        for name, converter in self._conversions:
            value = record.get(name)
            if value is not None:
                try:
                    record[name] = converter.to_avro(value)
                except (ValueError, TypeError, OverflowError, AttributeError) as error:
                    raise UnencodableError(f"{name}: {error}") from error
        buffer = BytesIO()
        buffer.write(self._header)
        try:
            schemaless_writer(buffer, self._reader, record)
        except (*AVRO_ERRORS, AttributeError) as error:
            raise UnencodableError(self._field_at_fault(record) or str(error)) from error
        return buffer.getvalue()

    def decode(self, payload: bytes | None) -> dict[str, Any]:
        """Return the event of a payload, in the fields of the topic's newest schema.

        Timestamps are ``datetime`` in UTC, decimals are ``Decimal`` at the schema's scale.

        Raises:
            UndecodableError: The payload is no event; nothing else is ever raised.
        """
        _, record = self._record(payload)
        for name, converter in self._conversions:
            value = record[name]
            if value is not None:
                record[name] = self._converted(name, converter, value)
        return record

    def event_time_of(self, payload: bytes | None) -> tuple[int, int]:
        """Return the writer's schema id and the event time in microseconds, UTC.

        Refuses exactly what ``decode`` refuses.

        Raises:
            UndecodableError: The payload is no event; nothing else is ever raised.
        """
        schema_id, record = self._record(payload)
        for name, converter in self._conversions:
            if record[name] is not None:
                self._converted(name, converter, record[name])
        return schema_id, record[self._event_time]

    def _record(self, payload: bytes | None) -> tuple[int, dict[str, Any]]:
        if not payload:
            raise UndecodableError(Reason.EMPTY_PAYLOAD, "the message has no value")
        if len(payload) > self.max_payload_bytes:
            raise UndecodableError(
                Reason.PAYLOAD_TOO_LARGE,
                f"{len(payload)} bytes, at most {self.max_payload_bytes} are accepted",
            )
        if payload[0] != MAGIC_BYTE:
            raise UndecodableError(
                Reason.BAD_MAGIC_BYTE, f"begins with 0x{payload[0]:02x} instead of 0x00"
            )
        if len(payload) < HEADER.size:
            raise UndecodableError(
                Reason.TRUNCATED_PAYLOAD,
                f"{len(payload)} bytes, the header alone has {HEADER.size}",
            )
        schema_id = int.from_bytes(payload[1 : HEADER.size], "big")
        writer = self._writers.get(schema_id) or self._writer(schema_id)
        record = self._canonical(payload, writer)
        # Resolving a schema to itself costs as much as decoding; spare it.
        if writer is not self._reader:
            record = schemaless_reader(BytesIO(payload[HEADER.size :]), writer, self._reader)
        return schema_id, record

    def _canonical(self, payload: bytes, writer: Any) -> Any:
        buffer = BytesIO(payload)
        buffer.seek(HEADER.size)
        try:
            record = schemaless_reader(buffer, writer, None)
        except AVRO_ERRORS as error:
            # Within a number, fastavro meets the end of the bytes with an IndexError.
            is_cut = isinstance(error, IndexError) and buffer.tell() == len(payload)
            if is_cut or isinstance(error, EOFError):
                raise UndecodableError(
                    Reason.TRUNCATED_PAYLOAD, f"ends within a field ({len(payload)} bytes)"
                ) from error
            raise UndecodableError(
                Reason.UNDECODABLE_PAYLOAD, f"{type(error).__name__}: {error}"
            ) from error
        if buffer.tell() != len(payload):
            raise UndecodableError(
                Reason.UNDECODABLE_PAYLOAD,
                f"{len(payload) - buffer.tell()} bytes are left after the event",
            )
        # fastavro takes a branch of -1 for the last one, and numbers of any length.
        buffer.seek(HEADER.size)
        schemaless_writer(buffer, writer, record)
        if buffer.getvalue() != payload:
            raise UndecodableError(
                Reason.UNDECODABLE_PAYLOAD, "is not how Avro encodes the event that it seems to be"
            )
        return record

    def _field_at_fault(self, record: dict[str, Any]) -> str | None:
        try:
            validate(record, self._reader)
        except ValidationError as error:
            return "; ".join(str(one) for one in error.errors)
        return None

    def _writer(self, schema_id: int) -> Any:
        try:
            schema = registered_schema(self._registry, schema_id)
        except UnknownSchemaError as error:
            raise UndecodableError(Reason.UNKNOWN_SCHEMA_ID, str(error)) from error
        return self._writers.setdefault(schema_id, parse_schema(physical(schema)))

    def _converted(self, name: str, converter: Converter, value: Any) -> Any:
        try:
            return converter.from_avro(value)
        except (ValueError, OverflowError) as error:
            raise UndecodableError(Reason.UNDECODABLE_PAYLOAD, f"{name}: {error}") from error

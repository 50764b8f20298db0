"""A log of customers' changes, made by hand: harmless unless told otherwise."""

from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse.kafka import CUSTOMERS_TOPIC
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

NOON = datetime(2024, 8, 8, 12, 0, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
MINUTE_US = 60_000_000
REGISTRY = ContractRegistry()
CODEC = EventCodec(REGISTRY, 1_000_000, topics()[CUSTOMERS_TOPIC])
SCHEMA_ID = 30
SCHEMA_JSON = REGISTRY.schema_for(SCHEMA_ID)


def at(minute: float) -> datetime:
    """Return a time, in minutes from noon."""
    return NOON + timedelta(minutes=minute)


def row(customer: str = "C1", **fields: Any) -> dict[str, Any]:
    """Return a row of the CRM's table; personal fields would be ciphertexts."""
    return {
        "customer_id": customer,
        "name": b"name",
        "email": b"email",
        "phone": None,
        "birth_date": b"birth date",
        "address": b"address",
        "segment": "RETAIL",
        "country": "DE",
        "status": "ACTIVE",
        "risk_class": "LOW",
    } | fields


def change(op: str = "c", minute: float = 0, lsn: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a change in its envelope: ``fields`` are those of the row, or sides of the change."""
    sides = {side: fields.pop(side) for side in ("before", "after") if side in fields}
    made_at = NOON_US + int(minute * MINUTE_US)
    present = row(**fields)
    return {
        "op": op,
        "ts_us": made_at + 1_000,
        "before": present if op in "ud" else None,
        "after": None if op == "d" else present,
        "source": {
            "name": "crm",
            "table": "customers",
            "lsn": lsn,
            "snapshot": op == "r",
            "ts_us": made_at,
        },
    } | sides


def captured_at(made: dict[str, Any]) -> datetime:
    """Return when a change was captured."""
    return NOON + timedelta(microseconds=made["ts_us"] - NOON_US)


def payload(made: dict[str, Any]) -> bytes:
    """Return a change in the wire format."""
    return CODEC.encode(made)


def key(made: dict[str, Any]) -> bytes:
    """Return the message key of a change."""
    customer: str = (made["after"] or made["before"])["customer_id"]
    return customer.encode()

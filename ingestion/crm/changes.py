"""Captured changes in Debezium's envelope, and their way to what may be written down."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from lakehouse.privacy.fields import encrypt_field
from lakehouse.privacy.keys import KeyStore
from schemas import contract

CUSTOMERS_TABLE: Final = "silver.customers"
CREATED, UPDATED, DELETED, READ = "c", "u", "d", "r"


class CustomerRow(TypedDict):
    """A row of the CRM's table of customers, in plain text."""

    customer_id: str
    name: str | None
    email: str | None
    phone: str | None
    birth_date: str | None
    address: str | None
    segment: str
    country: str
    status: str
    risk_class: str


class Source(TypedDict):
    """Where a change stands in the CRM's own log; ``ts_us`` in UTC microseconds."""

    name: str
    table: str
    lsn: int
    snapshot: bool
    ts_us: int


class CustomerChange(TypedDict):
    """One captured change: ``op`` is c, u, d or r, ``ts_us`` when it was captured."""

    op: str
    ts_us: int
    before: CustomerRow | None
    after: CustomerRow | None
    source: Source


def change_key(change: CustomerChange) -> bytes:
    """Return the log key, the customer's id: all changes of a customer are in one partition."""
    row = change["after"] or change["before"]
    return row["customer_id"].encode() if row else b""


class Protection:
    """Encrypts what a change tells about a person; which fields those are, the contract marks."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._fields = [c.name for c in contract(CUSTOMERS_TABLE).columns if c.pii]

    def protected(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Return a `CustomerChange` as it may be written down: personal fields encrypted, or null.

        They are null once the customer is erased: what the CRM still says of somebody whose data
        were to be forgotten is not taken in again.

        Raises:
            lakehouse.privacy.keys.KeyStoreError: No key can be had.
        """
        before, after = self._protected(change["before"]), self._protected(change["after"])
        return {**change, "before": before, "after": after}

    def _protected(self, row: CustomerRow | None) -> Mapping[str, Any] | None:
        if row is None:
            return None
        customer = row["customer_id"]
        key = self._keys.key_to_write(customer)
        hidden: dict[str, Any] = dict(row)
        for field in self._fields:
            text = hidden[field]
            if text is not None:
                hidden[field] = encrypt_field(key, field, customer, text) if key else None
        return hidden

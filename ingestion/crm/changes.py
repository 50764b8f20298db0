"""Captured changes in Debezium's envelope, and their way to what may be written down."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from ingestion.producer import WithheldEventError
from lakehouse.privacy.fields import encrypt_field
from lakehouse.privacy.keys import KeyStore
from schemas import contract

CUSTOMERS_TABLE: Final = "silver.customers"
CUSTOMER_ID: Final = "customer_id"
SIDES: Final = ("before", "after")
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


class UnprotectedFieldError(WithheldEventError):
    """A personal field is not what can be encrypted; says what it is, never what is in it.

    Attributes:
        field: The field, such as ``after.email``.
    """

    def __init__(self, field: str, problem: str, change: Mapping[str, Any]) -> None:
        stated = change.get("source")
        said = stated if isinstance(stated, Mapping) else {}
        source = f"{said.get('name')}.{said.get('table')} lsn {said.get('lsn')}"
        super().__init__("unprotected_field", f"{field} {problem}", source)
        self.field = field


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
            UnprotectedFieldError: A personal field, or whose it is, is missing or no text.
            lakehouse.privacy.keys.KeyStoreError: No key can be had.
        """
        sides = {side: self._protected(side, change) for side in SIDES}
        return {**change, **sides}

    def _protected(self, side: str, change: Mapping[str, Any]) -> Mapping[str, Any] | None:
        row = change.get(side)
        if row is None:
            return None
        if not isinstance(row, Mapping):
            raise UnprotectedFieldError(side, f"is of type {type(row).__name__}, no row", change)
        # All is looked at before a key is made for the customer.
        for field in (CUSTOMER_ID, *self._fields):
            if (problem := _problem(row, field)) is not None:
                raise UnprotectedFieldError(f"{side}.{field}", problem, change)
        customer, hidden = row[CUSTOMER_ID], dict(row)
        key = self._keys.key_to_write(customer)
        for field in self._fields:
            text = hidden[field]
            if text is not None:
                hidden[field] = encrypt_field(key, field, customer, text) if key else None
        return hidden


def _problem(row: Mapping[str, Any], field: str) -> str | None:
    """Say why a field is no text that can be encrypted, without a word of what it is."""
    if field not in row:
        return "is missing"
    value = row[field]
    if value is None and field != CUSTOMER_ID:
        return None
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, no text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "is no valid Unicode"
    return None

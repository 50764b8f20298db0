"""The table of wrapped keys: what a KMS makes a customer's key of, and of no use without it.

It is in the catalog's database, which all processes of a lake share, and is backed up with it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    select,
    text,
    update,
)

from lakehouse.catalog_database import OwnTables
from lakehouse.privacy.keys import KeyStoreError
from lakehouse.settings import Settings

# A database server that is started anew is back within it.
BUDGET_SECONDS = 20.0

_TABLES = MetaData()
_TABLE = Table(
    "wrapped_keys",
    _TABLES,
    Column("customer_id", Text, primary_key=True),
    Column("kms_key", Text, nullable=False),
    Column("wrapped", LargeBinary),  # null once erased: the row stays, so that no new key is made
    Column("erased_at", BigInteger),  # microseconds since 1970, UTC
)
# Of two processes that make a key at once, the first one's counts for both.
_KEEP = text(
    "INSERT INTO wrapped_keys (customer_id, kms_key, wrapped)"
    " VALUES (:customer_id, :kms_key, :wrapped) ON CONFLICT (customer_id) DO NOTHING"
)
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class WrappedKey:
    """What is kept for a customer.

    Attributes:
        kms_key: ARN of the KMS key that it is wrapped by.
        wrapped: The wrapped key; None after an erasure.
        erased_at: When that was, UTC; None before.
    """

    kms_key: str
    wrapped: bytes | None
    erased_at: datetime | None


class WrappedKeys:
    """Reads and writes the table, made when it is first used."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the table in the database that the settings name for the catalog."""
        return cls(
            OwnTables(
                settings,
                _TABLES,
                what="table of wrapped keys",
                error=KeyStoreError,
                budget_seconds=BUDGET_SECONDS,
            )
        )

    def find(self, customer_id: str) -> WrappedKey | None:
        """Return what is kept for a customer; None if nothing ever was.

        Raises:
            KeyStoreError: The database does not answer, or refuses.
        """
        return self._tables.in_transaction(lambda connection: _find(connection, customer_id))

    def keep(self, customer_id: str, kms_key: str, wrapped: bytes) -> WrappedKey:
        """Keep a customer's wrapped key, unless there is one already.

        Returns:
            What is kept by now: the one given, or that of whoever was first.

        Raises:
            KeyStoreError: The database does not answer, or refuses.
        """

        def keep(connection: Connection) -> WrappedKey:
            row = {"customer_id": customer_id, "kms_key": kms_key, "wrapped": wrapped}
            connection.execute(_KEEP, row)
            return _kept(connection, customer_id)

        return self._tables.in_transaction(keep)

    def erase(self, customer_id: str) -> datetime:
        """Remove a customer's wrapped key; the first time counts.

        Returns:
            When that was, UTC.

        Raises:
            KeyStoreError: Nothing is kept for the customer; the database does not answer.
        """
        now = int(datetime.now(UTC).timestamp() * _MICROSECONDS)

        def erase(connection: Connection) -> datetime:
            mine = (_TABLE.c.customer_id == customer_id, _TABLE.c.erased_at.is_(None))
            connection.execute(update(_TABLE).where(*mine).values(wrapped=None, erased_at=now))
            erased_at = _kept(connection, customer_id).erased_at
            if erased_at is None:
                raise KeyStoreError(f"the wrapped key of customer {customer_id!r} was not removed")
            return erased_at

        return self._tables.in_transaction(erase)


def _find(connection: Connection, customer_id: str) -> WrappedKey | None:
    row = connection.execute(select(_TABLE).where(_TABLE.c.customer_id == customer_id)).first()
    if row is None:
        return None
    erased = row.erased_at
    erased_at = None if erased is None else datetime.fromtimestamp(erased / _MICROSECONDS, UTC)
    return WrappedKey(row.kms_key, row.wrapped, erased_at)


def _kept(connection: Connection, customer_id: str) -> WrappedKey:
    found = _find(connection, customer_id)
    if found is None:
        raise KeyStoreError(f"the row of customer {customer_id!r} is gone from the wrapped keys")
    return found

"""The table of wrapped keys: what a KMS makes a customer's key of, and of no use without it.

It is in the catalog's database, which all processes of a lake share, and is backed up with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from lakehouse.catalog_database import database_address
from lakehouse.privacy.keys import KeyStoreError
from lakehouse.resilience import retrying
from lakehouse.settings import Settings

T = TypeVar("T")

# A database server that is started anew is back within it.
BUDGET_SECONDS = 20.0

_TABLE = Table(
    "wrapped_keys",
    MetaData(),
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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the table in the database that the settings name for the catalog."""
        # A connection that a restarted server has forgotten is replaced, not reported.
        return cls(create_engine(database_address(settings), pool_pre_ping=True))

    def find(self, customer_id: str) -> WrappedKey | None:
        """Return what is kept for a customer; None if nothing ever was.

        Raises:
            KeyStoreError: The database does not answer, or refuses.
        """
        return self._in_transaction(lambda connection: _find(connection, customer_id))

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

        return self._in_transaction(keep)

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

        return self._in_transaction(erase)

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        # Two processes that make the table at once collide in PostgreSQL's own tables.
        @retrying(on=(OperationalError, IntegrityError), budget_seconds=BUDGET_SECONDS)
        def wrapped_keys() -> T:
            with self._engine.begin() as connection:
                if not self._made:
                    connection.execute(CreateTable(_TABLE, if_not_exists=True))
                return work(connection)

        try:
            result = wrapped_keys()
        except SQLAlchemyError as error:
            # The statement's values are left out: they name a customer and hold a key.
            told = getattr(error, "orig", None) or error
            raise KeyStoreError(f"table of wrapped keys in {self._engine.url}: {told}") from error
        self._made = True
        return result


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

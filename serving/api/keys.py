"""API keys: who asks, and what for; kept as hashes in the database of the catalog.

A key is ``lh_<id>_<secret>``. Its secret is 256 bits of the system's randomness, so a plain hash
keeps it: what cannot be guessed need not be hashed slowly.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Self, get_args

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    insert,
    select,
    update,
)

from lakehouse.catalog_database import OwnTables
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from serving.api.relations import Dataset

Role = Literal["reader", "operator"]
"""A reader reads; an operator may also ask for changes."""
DATASETS: tuple[Dataset, ...] = get_args(Dataset)
PREFIX = "lh"
ID_BYTES, SECRET_BYTES = 6, 32
# With room to spare; what is longer is no key.
MOST_LETTERS = 100
# Somebody waits for the answer that a key opens.
BUDGET_SECONDS = 2.0
_MICROSECONDS = 1_000_000
# What an unknown id's secret is compared with, so that it takes as long as a known one's.
_NOBODYS_HASH = bytes(32)

_TABLES = MetaData()
_TABLE = Table(
    "api_keys",
    _TABLES,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("datasets", Text, nullable=False),  # a JSON array
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),  # microseconds since 1970, UTC; as all here
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)


class ApiKeyError(LakehouseError):
    """The keys cannot be read or written, or there is no such key."""


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key; its secret is known to whoever it was given to.

    Attributes:
        id: Names it; no secret.
        name: What its owner is called.
        expires_at: When it ends, UTC; None if it does not.
        revoked_at: When it was revoked, UTC; None if it was not.
    """

    id: str
    name: str
    role: Role
    datasets: frozenset[Dataset]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, at: datetime) -> bool:
        """Tell whether it opens anything at a time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class ApiKeys:
    """Makes, finds and revokes keys."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the keys in the database that the settings name for the catalog."""
        return cls(
            OwnTables(
                settings,
                _TABLES,
                what="the API keys",
                error=ApiKeyError,
                budget_seconds=BUDGET_SECONDS,
            )
        )

    def create(
        self,
        name: str,
        *,
        role: Role = "reader",
        datasets: Iterable[Dataset] = ("market",),
        lifetime: timedelta | None = None,
    ) -> str:
        """Make a key.

        Returns:
            The key itself, which is nowhere else.

        Raises:
            ApiKeyError: The database does not answer, or refuses.
        """
        key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
        now = datetime.now(UTC)
        row = {
            "id": key_id,
            "name": name,
            "role": role,
            "datasets": json.dumps(sorted(datasets)),
            "secret_hash": _hashed(secret),
            "created_at": _stored(now),
            "expires_at": None if lifetime is None else _stored(now + lifetime),
        }
        inserting = insert(_TABLE).values(row)
        self._tables.in_transaction(lambda connection: connection.execute(inserting))
        return f"{PREFIX}_{key_id}_{secret}"

    def find(self, key: str) -> ApiKey | None:
        """Return what a key stands for; None if it is none, or its secret is wrong.

        Raises:
            ApiKeyError: The database does not answer.
        """
        prefix, _, rest = key.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != PREFIX or not key_id or not secret or not key.isascii():
            return None
        wanted = select(_TABLE).where(_TABLE.c.id == key_id)
        row = self._tables.in_transaction(lambda connection: connection.execute(wanted).first())
        kept = _NOBODYS_HASH if row is None else row.secret_hash
        is_right = hmac.compare_digest(_hashed(secret), kept)
        return _read(row) if row is not None and is_right else None

    def all(self) -> list[ApiKey]:
        """Return every key there ever was, the oldest first.

        Raises:
            ApiKeyError: The database does not answer.
        """
        ordered = select(_TABLE).order_by(_TABLE.c.created_at, _TABLE.c.id)
        rows = self._tables.in_transaction(lambda connection: connection.execute(ordered).all())
        return [_read(row) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Let a key open nothing any more; the first time counts.

        Raises:
            ApiKeyError: There is no such key; the database does not answer.
        """
        mine, now = _TABLE.c.id == key_id, _stored(datetime.now(UTC))
        revoking = update(_TABLE).where(mine, _TABLE.c.revoked_at.is_(None)).values(revoked_at=now)

        def revoke(connection: Connection) -> bool:
            connection.execute(revoking)
            return connection.execute(select(_TABLE.c.id).where(mine)).first() is not None

        if not self._tables.in_transaction(revoke):
            raise ApiKeyError(f"there is no API key {key_id}: `lakehouse api keys list` has all")

    def close(self) -> None:
        """Close the connections to the database."""
        self._tables.close()


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _stored(moment: datetime) -> int:
    return int(moment.timestamp() * _MICROSECONDS)


def _moment(stored: int | None) -> datetime | None:
    return None if stored is None else datetime.fromtimestamp(stored / _MICROSECONDS, UTC)


def _read(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        role=row.role,
        datasets=frozenset(json.loads(row.datasets)),
        created_at=datetime.fromtimestamp(row.created_at / _MICROSECONDS, UTC),
        expires_at=_moment(row.expires_at),
        revoked_at=_moment(row.revoked_at),
    )

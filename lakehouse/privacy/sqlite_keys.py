"""The embedded key store: one SQLite file that only its owner can read.

Its concern beyond storing is forgetting. SQLite leaves old content in free parts of its pages and
in its journals, so everything here is set up to overwrite: deleted content is zeroed, there is no
write-ahead log, and an erasure ends with a rewrite of the whole file from the rows that are left.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from lakehouse.privacy.keys import CustomerKey, Destroyed, KeyStoreError, UnknownCustomerError
from lakehouse.settings import Settings

# Producers and an erasure share the file; a transaction takes milliseconds.
BUSY_TIMEOUT_SECONDS = 10
OWNER_ONLY_FILE, OWNER_ONLY_FOLDER = 0o600, 0o700

_TABLE = """
CREATE TABLE IF NOT EXISTS keys (
    customer_id TEXT PRIMARY KEY,
    secret BLOB,      -- null once erased: the row stays, so that no new key is made
    erased_at INTEGER -- microseconds since 1970, UTC
) STRICT
"""
_MICROSECONDS = 1_000_000


class SqliteKeyStore:
    """Keeps keys in a file; safe to be used by several processes at once."""

    def __init__(self, path: Path) -> None:
        """Use a file, made on the first write."""
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the store that the settings name."""
        return cls(settings.key_store_file)

    def key_to_read(self, customer_id: str) -> CustomerKey | None:
        """Return a customer's key; None if there is none, or none any more.

        Raises:
            KeyStoreError: The file cannot be read.
        """
        if not self._path.exists():
            return None
        with self._database() as database:
            found = self._row(database, customer_id)
        return None if found is None else _key(found[0])

    def key_to_write(self, customer_id: str) -> CustomerKey | None:
        """Return a customer's key, made and safely stored if need be; None after an erasure.

        Raises:
            KeyStoreError: The file cannot be read or written.
        """
        with self._database() as database:
            found = self._row(database, customer_id)
            if found is None:
                # Of two processes that make a key at once, the first one's counts for both.
                database.execute(
                    "INSERT OR IGNORE INTO keys (customer_id, secret) VALUES (?, ?)",
                    (customer_id, CustomerKey.random().to_bytes()),
                )
                found = self._row(database, customer_id)
        return None if found is None else _key(found[0])

    def destroy(self, customer_id: str) -> Destroyed:
        """Destroy a customer's key, so that no byte of it is left in the file or beside it.

        Raises:
            UnknownCustomerError: There never was a key of this customer.
            KeyStoreError: The file cannot be written; try again, until it succeeds once.
        """
        if not self._path.exists():
            raise self._unknown(customer_id)
        now = int(datetime.now(UTC).timestamp() * _MICROSECONDS)
        with self._database() as database:
            database.execute(
                "UPDATE keys SET secret = NULL, erased_at = ?"
                " WHERE customer_id = ? AND erased_at IS NULL",
                (now, customer_id),
            )
            found = self._row(database, customer_id)
        if found is None:
            raise self._unknown(customer_id)
        # Also when the key is gone already: that run may have ended before it came to this.
        with self._database() as database:
            database.execute("VACUUM")
        return Destroyed(customer_id, datetime.fromtimestamp(found[1] / _MICROSECONDS, UTC))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            self._make_private()
            # In autocommit mode each statement is a transaction, durable when it returns.
            with closing(
                sqlite3.connect(self._path, BUSY_TIMEOUT_SECONDS, isolation_level=None)
            ) as database:
                database.execute("PRAGMA journal_mode = DELETE")
                database.execute("PRAGMA secure_delete = ON")
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("PRAGMA temp_store = MEMORY")
                database.execute(_TABLE)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise KeyStoreError(f"key store {self._path}: {error}") from error

    def _make_private(self) -> None:
        self._path.parent.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        # SQLite gives its journals the mode of the file.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, OWNER_ONLY_FILE))

    def _row(
        self, database: sqlite3.Connection, customer_id: str
    ) -> tuple[bytes | None, int] | None:
        row: tuple[bytes | None, int] | None = database.execute(
            "SELECT secret, erased_at FROM keys WHERE customer_id = ?", (customer_id,)
        ).fetchone()
        return row

    def _unknown(self, customer_id: str) -> UnknownCustomerError:
        return UnknownCustomerError(
            f"{self._path} has no key of customer {customer_id!r}: nothing to erase or to read. "
            "Check the id, and that LAKEHOUSE_HOME or LAKEHOUSE_KEY_STORE names the right place"
        )


def _key(secret: bytes | None) -> CustomerKey | None:
    return None if secret is None else CustomerKey.from_bytes(secret)

"""The embedded key store: who may read its file, and that it forgets."""

import sqlite3
import stat
from pathlib import Path

import pytest

from lakehouse.privacy.keys import KeyStoreError, UnknownCustomerError
from lakehouse.privacy.sqlite_keys import SqliteKeyStore

# Several pages of the database, so that its tree is split and rebuilt while it grows.
MANY = 300
# Of a key, so many bytes together are not found by chance.
TELLING_BYTES = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "customers.db"


@pytest.fixture
def store(path: Path) -> SqliteKeyStore:
    return SqliteKeyStore(path)


def traces(folder: Path, secret: bytes) -> list[str]:
    """Return where parts of a secret are found, in any file of a folder."""
    parts = [secret[at : at + TELLING_BYTES] for at in range(0, len(secret), TELLING_BYTES)]
    return [
        f"{file.name}:{content.find(part)}"
        for file in folder.rglob("*")
        if file.is_file()
        for content in [file.read_bytes()]
        for part in parts
        if part in content
    ]


def test_reading_and_erasing_make_no_file(path: Path, store: SqliteKeyStore) -> None:
    assert store.key_to_read("C1") is None
    with pytest.raises(UnknownCustomerError, match="'C1'"):
        store.destroy("C1")
    assert not path.exists()


def test_nobody_but_the_owner_can_read_the_keys(path: Path, store: SqliteKeyStore) -> None:
    store.key_to_write("C1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_byte_of_a_destroyed_key_is_left(path: Path, store: SqliteKeyStore) -> None:
    keys = {f"C{number:06d}": store.key_to_write(f"C{number:06d}") for number in range(MANY)}
    secrets = {customer: key.to_bytes() for customer, key in keys.items() if key is not None}
    assert traces(path.parent, secrets["C000007"]), "the search finds a key that is there"
    erased = [f"C{number:06d}" for number in range(7, MANY, 50)]
    for customer in erased:
        store.destroy(customer)
    for customer in erased:
        assert traces(path.parent, secrets[customer]) == []
        assert store.key_to_read(customer) is None
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no journal is left"
    for customer in set(secrets) - set(erased):
        key = store.key_to_read(customer)
        assert key is not None
        assert key.to_bytes() == secrets[customer]


def test_a_key_that_cannot_be_destroyed_is_an_error(
    path: Path, store: SqliteKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.privacy.sqlite_keys.BUSY_TIMEOUT_SECONDS", 0)
    store.key_to_write("C1")
    with sqlite3.connect(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(KeyStoreError, match="locked"):
            store.destroy("C1")
    other.close()
    store.destroy("C1")
    assert store.key_to_read("C1") is None


def test_a_file_that_is_no_database_is_an_error(path: Path, store: SqliteKeyStore) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database, whatever its name says" * 100)
    with pytest.raises(KeyStoreError, match="not a database"):
        store.key_to_read("C1")

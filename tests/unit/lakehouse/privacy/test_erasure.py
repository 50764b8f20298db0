"""An erasure and its record."""

from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from typer.testing import CliRunner

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.cli import app
from lakehouse.errors import LakehouseError
from lakehouse.privacy.erasure import ERASURES, INTENDED, erase
from lakehouse.privacy.keys import KeyStoreError, UnknownCustomerError
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from lakehouse.settings import Settings
from schemas import tables


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    made = load_catalog(settings)
    tables.apply(made, [schemas.contract(ERASURES)])
    return made


@pytest.fixture
def keys(settings: Settings) -> SqliteKeyStore:
    store = SqliteKeyStore.of(settings)
    store.key_to_write("C1")
    return store


def records(catalog: Catalog) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = catalog.load_table(ERASURES).scan().to_arrow().to_pylist()
    return rows


def intentions(catalog: Catalog) -> list[str]:
    told = [one.summary for one in catalog.load_table(ERASURES).snapshots()]
    stated = [one.additional_properties for one in told if one is not None]
    return [one[INTENDED] for one in stated if INTENDED in one]


def test_an_erasure_destroys_the_key_and_is_recorded(
    keys: SqliteKeyStore, catalog: Catalog
) -> None:
    erasure = erase(keys, catalog, "C1")
    assert keys.key_to_read("C1") is None
    (record,) = records(catalog)
    assert record == {
        "customer_id": "C1",
        "erased_at": erasure.erased_at,
        "recorded_at": erasure.recorded_at,
    }


def test_erasing_again_changes_nothing(keys: SqliteKeyStore, catalog: Catalog) -> None:
    assert erase(keys, catalog, "C1") == erase(keys, catalog, "C1")
    assert len(records(catalog)) == 1


def test_two_who_erase_at_the_same_time_record_it_once(
    keys: SqliteKeyStore, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is done between the first one's look at the records and its commit."""
    commit = SqlCatalog.commit_table

    def overtaken(self: SqlCatalog, *change: Any) -> Any:
        if intentions(catalog):  # this commit is the record
            monkeypatch.setattr(SqlCatalog, "commit_table", commit)
            erase(keys, catalog, "C1")
        return commit(self, *change)

    monkeypatch.setattr(SqlCatalog, "commit_table", overtaken)
    erase(keys, catalog, "C1")
    assert len(records(catalog)) == 1


def test_who_may_not_write_the_record_destroys_nothing(
    keys: SqliteKeyStore, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("PutObject: access denied")

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "commit_table", refused)
        with pytest.raises(PermissionError):
            erase(keys, catalog, "C1")
    assert keys.key_to_read("C1") is not None
    assert records(catalog) == []


def test_the_intention_is_on_record_before_the_key_goes(
    keys: SqliteKeyStore, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: str) -> None:
        raise KeyStoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "destroy", fails)
        with pytest.raises(KeyStoreError):
            erase(keys, catalog, "C1")
    assert intentions(catalog) == ["C1"]
    assert records(catalog) == []
    erase(keys, catalog, "C1")
    erase(keys, catalog, "C1")
    assert intentions(catalog) == ["C1", "C1"], "what is on record is not intended again"


def test_an_erasure_that_was_not_recorded_is_recorded_later(
    keys: SqliteKeyStore, catalog: Catalog
) -> None:
    at = keys.destroy("C1").erased_at
    assert erase(keys, catalog, "C1").erased_at == at
    assert [record["erased_at"] for record in records(catalog)] == [at]


def test_who_was_never_there_is_not_recorded(keys: SqliteKeyStore, catalog: Catalog) -> None:
    with pytest.raises(UnknownCustomerError):
        erase(keys, catalog, "C'2")
    assert records(catalog) == []


def test_the_command_says_what_it_did(
    keys: SqliteKeyStore,
    catalog: Catalog,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lakehouse.privacy.cli.get_settings", lambda: settings)
    done = CliRunner().invoke(app, ["erase", "--customer", "C1"])
    assert done.exit_code == 0
    assert done.stdout.startswith("C1: personal data erased 20")
    assert len(records(catalog)) == 1
    wrong = CliRunner().invoke(app, ["erase", "--customer", "C2"])
    assert isinstance(wrong.exception, LakehouseError)

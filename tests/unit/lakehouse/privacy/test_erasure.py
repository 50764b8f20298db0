"""An erasure and its record."""

import pytest
from pyiceberg.catalog import Catalog
from typer.testing import CliRunner

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.cli import app
from lakehouse.errors import LakehouseError
from lakehouse.privacy.erasure import ERASURES, erase
from lakehouse.privacy.keys import UnknownCustomerError
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


def test_an_erasure_that_was_not_recorded_is_recorded_later(
    keys: SqliteKeyStore, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str) -> None:
        raise ConnectionError(name)

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "load_table", unreachable)
        with pytest.raises(ConnectionError):
            erase(keys, catalog, "C1")
    assert keys.key_to_read("C1") is None, "the key goes first"
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

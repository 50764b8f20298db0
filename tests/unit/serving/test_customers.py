"""A customer's history, as who holds the keys reads it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from typer.testing import CliRunner

from lakehouse.privacy.fields import ForgedFieldError, encrypt_field
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from lakehouse.settings import Settings
from serving.cli import app
from serving.customers import NoSuchCustomerError, customer_history

JANUARY, MARCH = (datetime(2024, month, 1, tzinfo=UTC) for month in (1, 3))
PERSONAL = {
    "name": "Hedda Birkemo",
    "email": "hedda@example.com",
    "phone": None,
    "birth_date": "1971-02-03",
    "address": "1 Mill Steps",
}


@pytest.fixture
def keys(settings: Settings) -> SqliteKeyStore:
    return SqliteKeyStore.of(settings)


def state(keys: SqliteKeyStore, customer: str = "C1", **fields: Any) -> dict[str, Any]:
    key = keys.key_to_write(customer)
    assert key is not None
    texts = {name: fields.pop(name, text) for name, text in PERSONAL.items()}
    hidden = {
        name: text if text is None else encrypt_field(key, name, customer, text)
        for name, text in texts.items()
    }
    plain = {
        "customer_id": customer,
        "valid_from": JANUARY,
        "valid_to": None,
        "is_current": True,
        "segment": "RETAIL",
        "country": "DE",
        "status": "ACTIVE",
        "risk_class": "LOW",
        "source_position": 1,
        "log_partition": 0,
        "last_offset": 1,
    }
    return plain | hidden | fields


def test_a_history_is_read_in_plain_text(catalog: Catalog, keys: Any, append: Any) -> None:
    past = state(keys, valid_to=MARCH, is_current=False, name="Hedda Elsholt")
    append("silver.customers", [state(keys, valid_from=MARCH), past, state(keys, "C2")])
    first, second = customer_history(catalog, keys, "C1")
    assert (first["name"], second["name"]) == ("Hedda Elsholt", "Hedda Birkemo")
    assert {name: second[name] for name in PERSONAL} == PERSONAL
    assert (first["valid_from"], first["valid_to"]) == (JANUARY, MARCH)
    assert "last_offset" not in first


def test_an_erased_customer_is_read_without_personal_data(
    catalog: Catalog, keys: Any, append: Any
) -> None:
    append("silver.customers", [state(keys), state(keys, "C2")])
    keys.destroy("C1")
    (erased,) = customer_history(catalog, keys, "C1")
    assert {erased[name] for name in PERSONAL} == {None}
    assert (erased["segment"], erased["valid_from"]) == ("RETAIL", JANUARY)
    assert customer_history(catalog, keys, "C2")[0]["name"] == PERSONAL["name"]


def test_a_field_of_somebody_else_is_refused(catalog: Catalog, keys: Any, append: Any) -> None:
    append("silver.customers", [state(keys) | {"name": state(keys, "C2")["name"]}])
    with pytest.raises(ForgedFieldError, match="name of customer C1"):
        customer_history(catalog, keys, "C1")


@pytest.mark.parametrize("customer", ["C9", "C1' or '1'='1", ""])
def test_nobody_is_shown_for_an_unknown_id(
    customer: str, catalog: Catalog, keys: Any, append: Any
) -> None:
    append("silver.customers", [state(keys)])
    with pytest.raises(NoSuchCustomerError):
        customer_history(catalog, keys, customer)


def test_the_command_prints_for_people_and_programs(
    settings: Settings,
    catalog: Catalog,
    keys: Any,
    append: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append("silver.customers", [state(keys)])
    monkeypatch.setattr("serving.cli.get_settings", lambda role: settings)
    monkeypatch.setattr("lakehouse.catalog.load_catalog", lambda settings: catalog)
    shown = CliRunner().invoke(app, ["customers", "show", "C1"])
    assert "Hedda Birkemo" in shown.stdout
    as_json = CliRunner().invoke(app, ["customers", "show", "C1", "--json"])
    assert '"birth_date": "1971-02-03"' in as_json.stdout

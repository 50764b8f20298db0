import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.settings import get_settings
from schemas import contracts
from schemas.cli import app
from schemas.registry import ContractRegistry, IncompatibleSchemaError

RUN = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_list_knows_every_table() -> None:
    listed = json.loads(RUN.invoke(app, ["schemas", "list", "--json"]).stdout)
    assert {fact["table"] for fact in listed} == set(contracts())
    assert all(fact["owner"] and fact["key"] for fact in listed)
    assert RUN.invoke(app, ["schemas", "list"]).exit_code == 0


def test_apply_twice(home: Path) -> None:
    for outcome in ("created", "unchanged"):
        done = json.loads(RUN.invoke(app, ["schemas", "apply", "--json"]).stdout)
        assert {one["outcome"] for one in done} == {outcome}
    assert (home / "catalog.db").exists()


def test_check_passes_and_touches_nothing(home: Path) -> None:
    result = RUN.invoke(app, ["schemas", "check"])
    assert result.exit_code == 0
    assert "sound" in result.stdout
    assert not list(home.iterdir())
    assert "created" in RUN.invoke(app, ["schemas", "check", "--tables"]).stdout


def test_check_fails_on_an_incompatible_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContractRegistry, "compatibility_problems", lambda _: ["fee: no default"])
    result = RUN.invoke(app, ["schemas", "check"])
    assert isinstance(result.exception, IncompatibleSchemaError)
    assert "fee" in str(result.exception)

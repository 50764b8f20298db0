"""Rows of an audit table are appended in one commit, also when others append meanwhile."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

import schemas
from lakehouse import audit_trail
from lakehouse.audit_trail import append_rows
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables

RUNS = "ops.runs"
NOW = datetime(2024, 8, 9, tzinfo=UTC)


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(RUNS)])
    return catalog


def run(run_id: str) -> dict[str, Any]:
    required = {
        column.name: NOW if column.name.endswith(("_at", "_start", "_end")) else "x"
        for column in schemas.contract(RUNS).columns
        if column.required
    }
    return required | {"run_id": run_id}


def ids(catalog: Catalog) -> list[str]:
    return sorted(catalog.load_table(RUNS).scan().to_arrow()["run_id"].to_pylist())


def test_rows_are_one_commit_and_what_is_left_out_is_null(catalog: Catalog) -> None:
    append_rows(catalog, RUNS, [run("a"), run("b")])
    table = catalog.load_table(RUNS)
    assert ids(catalog) == ["a", "b"]
    assert len(table.snapshots()) == 1
    assert table.scan().to_arrow()["detail"].null_count == 2


def test_no_rows_are_no_commit(catalog: Catalog) -> None:
    append_rows(catalog, RUNS, [])
    assert catalog.load_table(RUNS).snapshots() == []


def test_of_rows_that_are_to_be_there_once_only_new_ones_are_appended(catalog: Catalog) -> None:
    for told in (["a'1"], ["a'1", "b"], ["b"]):
        append_rows(catalog, RUNS, [run(one) for one in told], once_by="run_id")
    assert ids(catalog) == ["a'1", "b"]
    assert len(catalog.load_table(RUNS).snapshots()) == 2


@pytest.mark.parametrize("failures", [1, 3])
def test_a_commit_that_lost_a_race_is_tried_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    lose(monkeypatch, failures)
    append_rows(catalog, RUNS, [run("a")])
    assert ids(catalog) == ["a"]


def test_after_the_budget_it_gives_up(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(audit_trail, "COMMIT_BUDGET_SECONDS", 0.0)
    lose(monkeypatch, 1_000)
    with pytest.raises(CommitFailedException):
        append_rows(catalog, RUNS, [run("a")])


def lose(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the next commits lose a race."""
    original = SqlCatalog.commit_table
    left = [times]

    def commit(self: SqlCatalog, table: Table, requirements: Any, updates: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise CommitFailedException("somebody else was quicker")
        return original(self, table, requirements, updates)

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)

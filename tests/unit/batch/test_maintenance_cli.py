"""``lakehouse maintain`` on the command line; what it does is tested elsewhere."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

import lakehouse.spark
from batch.cli import app
from batch.maintenance.cli import MaintenanceError, UnknownTableError
from batch.maintenance.job import Maintenance
from batch.maintenance.report import Outcome, Report
from batch.maintenance.sizes import TableSize
from lakehouse.settings import Settings

BUSY = Report(
    "silver.trades_rt",
    TableSize(files=1200, bytes=1200 << 10, manifests=12, snapshots=300),
    TableSize(files=30, bytes=900 << 10, manifests=1, snapshots=2),
    files_compacted=1180,
    files_written=10,
    put_off=["deleting files: a run that is at work reads the table"],
    outcome=Outcome.PUT_OFF,
)
BROKEN = Report("gold.bars_1m", TableSize(files=3), put_off=["OSError: no"], outcome=Outcome.FAILED)


class Session:
    stopped = False

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[Maintenance], list[str], Session]]:
    """Let upkeep report as it is told; return what it was asked for."""

    def told(*reports: Report) -> tuple[list[Maintenance], list[str], Session]:
        asked: list[Maintenance] = []
        tables: list[str] = []
        session = Session()

        def run(self: Maintenance, contracts: Any, tell: Any) -> list[Report]:
            asked.append(self)
            tables.extend(contract.name for contract in contracts)
            return list(reports)

        monkeypatch.setattr(Maintenance, "run", run)
        monkeypatch.setattr(lakehouse.spark, "spark_session", lambda *_: session)
        monkeypatch.setattr("batch.maintenance.cli.get_settings", lambda _role: settings)
        monkeypatch.setattr("batch.maintenance.cli.load_catalog", lambda _settings: None)
        return asked, tables, session

    return told


def test_options_are_passed_on_and_reports_are_json(told: Any) -> None:
    asked, tables, session = told(BUSY)
    words = ["maintain", "--table", "silver.trades_rt", "--as-of", "2026-11-22T20:00", "--dry-run"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert (asked[0].as_of, asked[0].dry_run) == (datetime(2026, 11, 22, 20, tzinfo=UTC), True)
    assert tables == ["silver.trades_rt"]
    assert session.stopped
    (report,) = json.loads(done.stdout)
    assert (report["outcome"], report["before"]["files"], report["after"]["files"]) == (
        "PUT_OFF",
        1200,
        30,
    )


def test_without_options_all_tables_are_kept_up_as_of_now(told: Any) -> None:
    asked, tables, _ = told(BUSY)
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["maintain"])
    assert done.exit_code == 0, done.output
    assert {"bronze.market_trades", "ops.maintenance"} <= set(tables)
    assert (datetime.now(UTC) - asked[0].as_of).total_seconds() < 60
    said = " ".join(done.stdout.split())
    assert "1,200 → 30 1,200 → 900 12 → 1 300 → 2 put_off" in said
    assert "1,180 compacted into 10, put off deleting files" in said


def test_a_table_that_failed_is_an_error_in_the_end(told: Any) -> None:
    told(BUSY, BROKEN)
    done = CliRunner().invoke(app, ["maintain"])
    assert isinstance(done.exception, MaintenanceError)
    assert "gold.bars_1m" in str(done.exception)


def test_an_unknown_table_is_refused_before_anything_starts(told: Any) -> None:
    asked, _, _ = told()
    done = CliRunner().invoke(app, ["maintain", "--table", "gold.nope"])
    assert isinstance(done.exception, UnknownTableError)
    assert asked == []

"""Runs that lose to other publications: they begin again, and say how often."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

import schemas
from batch import job
from batch.datasets import chosen
from batch.job import BatchJob, Report
from batch.publication import PublishConflictError
from batch.runs import RUNS, Run, RunLog
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from schemas import tables

NOON = datetime(2024, 8, 9, 12, tzinfo=UTC)
HOUR = Interval(NOON, NOON + timedelta(hours=1))


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(RUNS)])
    return catalog


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that compute nothing, and lose once for each of these."""
    left: list[str] = []

    def publish(_self: BatchJob, run: Run, _runs: RunLog) -> Report:
        if left:
            raise PublishConflictError(left.pop())
        return Report(run.run_id, run.dataset, run.interval, (), 1, {"silver.trades": 3})

    monkeypatch.setattr(BatchJob, "_publish", publish)
    monkeypatch.setattr(BatchJob, "landed_through", lambda *_: 1)
    monkeypatch.setattr(BatchJob, "bronze", lambda *_: None)
    monkeypatch.setattr(job, "touched_hours", lambda *_: ())
    monkeypatch.setattr(job, "ingested_positions", lambda *_: {})
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return left


def run_once(settings: Settings, catalog: Catalog) -> tuple[Report, dict[str, Any]]:
    (dataset,) = chosen(["trades"])
    report = BatchJob(cast(SparkSession, None), catalog, settings, dataset).run(HOUR)
    recorded: list[dict[str, Any]] = catalog.load_table(RUNS).scan().to_arrow().to_pylist()
    (published,) = (row for row in recorded if row["status"] == "PUBLISHED")
    return report, published


def test_a_run_tells_how_often_another_published_first(
    settings: Settings, catalog: Catalog, losses: list[str]
) -> None:
    losses += ["silver.trades", "gold.bars_1m"]
    report, published = run_once(settings, catalog)
    assert (report.conflicts, report.rows) == (2, {"silver.trades": 3})
    assert published["conflicts"] == 2


def test_a_run_that_nobody_disturbed_has_nothing_to_tell(
    settings: Settings, catalog: Catalog, losses: list[str]
) -> None:
    report, published = run_once(settings, catalog)
    assert report.conflicts == 0
    assert published["conflicts"] == 0

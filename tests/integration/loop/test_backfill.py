"""Backfills: interval by interval, stopped and gone on with, beside the speed layer."""

from datetime import timedelta
from decimal import Decimal

import pytest
from pyspark.sql import SparkSession
from small_lake import TICK, SmallLake, trade
from typer.testing import CliRunner

from batch.backfill import Backfill, Plan
from batch.cli import app
from batch.job import BatchJob, Report
from batch.runs import RunLog
from demo.oracle import compare, naive_bars
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from serving.engine import SqlEngine

pytestmark = pytest.mark.integration

LANDINGS = 4


class StoppedError(Exception):
    """Somebody has pulled the plug."""


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


@pytest.fixture
def plan(lake: SmallLake) -> Plan:
    landed = []
    for number in range(1, LANDINGS + 1):
        lake.produce(trade(number, event_time=trade()["event_time"] + timedelta(hours=number % 2)))
        landed.append(lake.land())
    return Plan(Interval(landed[0].start, landed[-1].end), TICK)


def backfill(lake: SmallLake) -> Backfill:
    job = BatchJob(lake.spark.newSession(), lake.catalog, lake.settings, lake.dataset)
    return Backfill([job], RunLog(lake.catalog))


def assert_all_is_reconciled(lake: SmallLake) -> None:
    engine = SqlEngine(lake.catalog)
    bars = engine.query("SELECT * FROM serving.bars_1m").to_pylist()
    engine.close()
    assert {bar["status"] for bar in bars} == {"RECONCILED"}
    verdict = compare(naive_bars(lake.events()), bars, ignore=("log_partition",))
    assert verdict.equal, verdict


def test_stopped_in_the_middle_it_goes_on_where_it_was(
    lake: SmallLake, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Interval] = []

    def stop_after_two(report: Report) -> None:
        told.append(report.interval)
        if len(told) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        backfill(lake).run(plan, tell=stop_after_two)
    # The speed layer has gone on, and a trade of it has been corrected meanwhile.
    lake.produce(trade(2, event_type="CORRECTION", price=Decimal(77)))
    lake.stream()

    assert backfill(lake).pending(plan) == {"trades": plan.intervals[2:]}
    monkeypatch.setattr("batch.cli.get_settings", lambda _role: lake.settings)
    within = ("--start", plan.interval.start.isoformat(), "--end", plan.interval.end.isoformat())
    hours = str(TICK.total_seconds() / 3600)
    words = ("backfill", *within, "--step-hours", hours, "--dataset", "trades", "--dry-run")
    told_before = CliRunner().invoke(app, words).output
    assert f"{len(plan.intervals) - 2} of {len(plan.intervals)} runs are left" in told_before
    assert "reads bronze.market_trades: 4 rows in 4 files" in told_before
    assert "writes gold.market_daily: " in told_before
    assert backfill(lake).pending(plan) == {"trades": plan.intervals[2:]}
    backfill(lake).run(plan, tell=lambda report: told.append(report.interval))
    assert told == plan.intervals
    assert backfill(lake).pending(plan) == {"trades": []}
    lake.batch(lake.land())
    assert_all_is_reconciled(lake)


def test_the_other_way_round_and_once_more_it_ends_in_the_same(lake: SmallLake, plan: Plan) -> None:
    reverse = Plan(plan.interval, plan.step, reverse=True)
    assert reverse.intervals == plan.intervals[::-1]
    backfill(lake).run(reverse)
    assert_all_is_reconciled(lake)
    assert backfill(lake).pending(plan) == {"trades": []}, "another order is the same backfill"
    told: list[Report] = []
    backfill(lake).run(plan, again=True, tell=told.append)
    assert len(told) == LANDINGS
    assert all(report.rows["gold.bars_1m"] == 0 for report in told), "nothing was to change"
    assert_all_is_reconciled(lake)


def test_another_stretch_is_another_backfill(lake: SmallLake, plan: Plan) -> None:
    backfill(lake).run(plan)
    first = plan.intervals[0]
    assert backfill(lake).pending(Plan(first, TICK)) == {"trades": [first]}

"""Backfills: interval by interval, stopped and gone on with, beside the speed layer."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from dropped_files import FileLake, csv_of, instrument
from embedded_lake import DEADLINE_SECONDS, LAKEHOUSE
from pyspark.sql import SparkSession
from small_lake import TICK, SmallLake, trade
from typer.testing import CliRunner

from batch.backfill import Backfill, Plan
from batch.cli import app
from batch.job import BatchJob, Report
from batch.landing import NotLandedError
from demo.oracle import compare, naive_bars
from lakehouse.catalog import load_catalog
from lakehouse.intervals import HOUR, Interval
from lakehouse.settings import Settings
from serving.engine import SqlEngine

pytestmark = pytest.mark.integration

LANDINGS = 4


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
    return Backfill([job], lake.catalog)


def assert_all_is_reconciled(lake: SmallLake) -> None:
    engine = SqlEngine(lake.catalog)
    bars = engine.query("SELECT * FROM serving.bars_1m").to_pylist()
    engine.close()
    assert {bar["status"] for bar in bars} == {"RECONCILED"}
    verdict = compare(naive_bars(lake.events()), bars, ignore=("log_partition",))
    assert verdict.equal, verdict


@contextmanager
def started(settings: Settings, plan: Plan, *datasets: str) -> Iterator["subprocess.Popen[str]"]:
    """Start the verb, in a process group of its own; at the end nothing of it is left."""
    interval = ("--start", str(plan.interval.start), "--end", str(plan.interval.end))
    chosen = (f"--dataset={dataset}" for dataset in datasets)
    with subprocess.Popen(
        [*LAKEHOUSE, "backfill", *interval, f"--step-hours={plan.step / HOUR}", *chosen],
        env=os.environ | {"LAKEHOUSE_HOME": str(settings.home)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.timeout(900)  # two commands, each with a Spark of its own
def test_killed_in_the_middle_the_verb_goes_on_where_it_was(
    lake: SmallLake, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drops = lake.settings.model_copy(update={"drop_folder": tmp_path / "drop"})
    files = FileLake(drops, clock=lambda: plan.interval.start)
    files.loader.load(files.put("instruments_2024-08-08.csv", csv_of(instrument())))
    datasets, runs = ("trades", "instruments"), LANDINGS + 1

    with started(lake.settings, plan, *datasets) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{runs} of {runs} runs are left to do\n"
        assert process.stdout.readline().startswith(f"trades {plan.intervals[0]}: ")
    # The speed layer has gone on, and a trade of it has been corrected meanwhile.
    lake.produce(trade(2, event_type="CORRECTION", price=Decimal(77)))
    lake.stream()

    pending = backfill(lake).pending(plan)["trades"]
    # The second may just have been published.
    assert pending in (plan.intervals[1:], plan.intervals[2:])
    monkeypatch.setattr("batch.cli.get_settings", lambda _role: lake.settings)
    within = ("--start", str(plan.interval.start), "--end", str(plan.interval.end))
    words = (*within, f"--step-hours={plan.step / HOUR}", "--dataset=trades", "--dry-run")
    told = CliRunner().invoke(app, ["backfill", *words]).output
    assert f"{len(pending)} of {LANDINGS} runs are left to do" in told
    assert "reads bronze.market_trades: 4 rows in 4 files" in told
    assert "writes gold.market_daily: " in told
    assert backfill(lake).pending(plan)["trades"] == pending
    with started(lake.settings, plan, *datasets) as process:
        said = process.communicate(timeout=2 * DEADLINE_SECONDS)[0]
    assert process.returncode == 0
    assert re.sub(r"\d+ rows", "some rows", said).splitlines() == [
        f"{len(pending) + 1} of {runs} runs are left to do",
        *(
            f"trades {interval}: some rows; {len(pending) - done} runs are left"
            for done, interval in enumerate(pending)
        ),
        f"instruments {plan.interval}: some rows; 0 runs are left",
    ]
    assert lake.catalog.load_table("silver.instruments").scan().count() == 1
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


def test_what_is_not_landed_ends_it_and_another_stretch_is_another_backfill(
    lake: SmallLake, plan: Plan
) -> None:
    further = Plan(Interval(plan.interval.start, plan.interval.end + TICK), TICK)
    with pytest.raises(NotLandedError):
        backfill(lake).run(further)
    assert backfill(lake).pending(further) == {"trades": further.intervals[LANDINGS:]}
    assert backfill(lake).pending(plan) == {"trades": plan.intervals}

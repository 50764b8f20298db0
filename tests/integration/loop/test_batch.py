"""Batch as a function of its interval: idempotent, in any order, and never seen half done."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from small_lake import SmallLake, trade

import batch.datasets.trades
from batch.idle import run_idle
from batch.landing import NotLandedError
from batch.publication import Branch, branches
from batch.quality import QualityError
from batch.reconciliation import NotPublishedError
from demo.oracle import compare, naive_bars, naive_days, naive_hours
from lakehouse.catalog import load_catalog
from lakehouse.coverage import batch_coverage
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from serving.engine import SqlEngine

pytestmark = pytest.mark.integration

HOUR_EARLIER = timedelta(hours=1)
OF_ONE_RUN = {"run_id", "started_at", "recorded_at"}
TABLES = ("silver.trades", "gold.bars_1m", "gold.bars_1h", "gold.market_daily")


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


def contents(lake: SmallLake) -> dict[str, list[dict[str, Any]]]:
    engine = SqlEngine(lake.catalog)
    tables = {
        name: engine.query(f"SELECT * FROM {name} ORDER BY ALL").to_pylist() for name in TABLES
    }
    engine.close()
    return tables


def test_any_order_overlap_and_repetition_end_in_the_same_tables(lake: SmallLake) -> None:
    early = trade(1).get("event_time") - HOUR_EARLIER
    lake.produce(trade(1))
    lake.produce(trade(7, event_time=early))
    first = lake.land()
    lake.produce(trade(2))
    lake.produce(trade(1, event_type="CORRECTION", price=Decimal(7)))
    second = lake.land()
    lake.produce(trade(7, event_type="CANCEL", event_time=early))
    third = lake.land()

    for interval in (third, first, second):
        lake.batch(interval)
    out_of_order = contents(lake)
    for interval in (first, Interval(first.start, third.end), third, third):
        lake.batch(interval)
    assert contents(lake) == out_of_order

    history = lake.events()
    expected = {
        "gold.bars_1m": (naive_bars(history, include_tombstones=True), "window_start"),
        "gold.bars_1h": (naive_hours(history, include_tombstones=True), "window_start"),
        "gold.market_daily": (naive_days(history, include_tombstones=True), "business_date"),
    }
    for name, (bars, time) in expected.items():
        verdict = compare(bars, out_of_order[name], key=("venue", "symbol", time))
        assert verdict.equal, f"{name} {verdict}"


def test_an_interval_without_events_is_published_as_such(lake: SmallLake) -> None:
    lake.produce(trade(1, event_time=datetime(1999, 1, 1, tzinfo=UTC)))
    for _ in range(2):
        report = lake.batch(lake.land())
        assert (report.business_hours, dict(report.rows)) == ((), {})
    assert lake.catalog.load_table("bronze.dead_letters").scan().to_arrow().num_rows == 1


def test_an_idle_interval_is_recorded_alike_with_and_without_an_engine(lake: SmallLake) -> None:
    lake.produce(trade(1))
    busy = lake.land()
    lake.batch(busy)
    before, idle = contents(lake), lake.land()
    by_engine = lake.batch(idle)
    without = run_idle(lake.catalog, lake.dataset, idle)
    assert without is not None
    assert run_idle(lake.catalog, lake.dataset, busy) is None
    assert without == replace(by_engine, run_id=without.run_id)
    rows = lake.catalog.load_table("ops.runs").scan().to_arrow().to_pylist()
    of_run = {
        run_id: [
            {name: value for name, value in row.items() if name not in OF_ONE_RUN}
            for row in sorted(rows, key=lambda row: row["recorded_at"])
            if row["run_id"] == run_id
        ]
        for run_id in (by_engine.run_id, without.run_id)
    }
    assert of_run[without.run_id] == of_run[by_engine.run_id]
    assert contents(lake) == before


def test_an_old_interval_run_again_takes_nothing_back(lake: SmallLake) -> None:
    lake.produce(trade(1))
    first = lake.land()
    lake.produce(trade(2))
    second = lake.land()
    lake.batch(second)
    lake.batch(first)
    bars = contents(lake)["gold.bars_1m"]
    assert [bar["trade_count"] for bar in bars] == [2]


def test_a_run_reads_only_what_was_ingested_before_its_end(lake: SmallLake) -> None:
    lake.produce(trade(1))
    first = lake.land()
    lake.produce(trade(2))
    lake.land()
    lake.batch(first)
    assert [bar["trade_count"] for bar in contents(lake)["gold.bars_1m"]] == [1]


def test_an_interval_that_is_not_landed_is_refused(lake: SmallLake) -> None:
    with pytest.raises(NotLandedError, match="is empty"):
        lake.batch(Interval(datetime(2024, 8, 9, tzinfo=UTC), datetime(2024, 8, 10, tzinfo=UTC)))
    lake.produce(trade(1))
    landed = lake.land()
    beyond = Interval(landed.start, landed.end + timedelta(microseconds=1))
    with pytest.raises(NotLandedError, match="is landed through"):
        lake.batch(beyond)


def test_an_unpublished_interval_is_not_reconciled(lake: SmallLake) -> None:
    lake.produce(trade(1))
    landed = lake.land()
    with pytest.raises(NotPublishedError, match="has not published"):
        lake.reconcile(landed)


def test_rows_that_repeat_a_key_are_not_published(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.produce(trade(1))
    lake.batch(lake.land())
    before = contents(lake)
    lake.produce(trade(2))
    interval = lake.land()
    resolve = batch.datasets.trades.resolve

    def doubled(observations: DataFrame, carried: Mapping[str, str]) -> DataFrame:
        trades = resolve(observations, carried)
        return trades.union(trades)

    monkeypatch.setattr(batch.datasets.trades, "resolve", doubled)
    with pytest.raises(QualityError, match=r"silver\.trades: key_is_unique must be = 0, is 2"):
        lake.batch(interval)
    assert contents(lake) == before
    runs = lake.catalog.load_table("ops.runs").scan(row_filter="status = 'FAILED'").to_arrow()
    assert "key_is_unique" in runs["detail"][0].as_py()
    broken = lake.catalog.load_table("ops.quality_checks").scan(row_filter="verdict = 'BROKEN'")
    assert "key_is_unique" in broken.to_arrow()["rule"].to_pylist()
    for name in TABLES:
        assert set(lake.catalog.load_table(name).refs()) == {"main"}, "a branch was left behind"

    monkeypatch.undo()
    lake.batch(interval)
    assert [bar["trade_count"] for bar in contents(lake)["gold.bars_1m"]] == [2]


def test_a_refused_event_is_one_dead_letter_however_often_it_is_met(lake: SmallLake) -> None:
    lake.produce(trade(1))
    lake.produce(trade(2, price=Decimal(-1)))
    lake.produce(trade(3, event_time=datetime(1999, 1, 1, tzinfo=UTC)))
    interval = lake.land()
    lake.stream()
    lake.batch(interval)
    lake.batch(interval)
    dead = lake.catalog.load_table("bronze.dead_letters").scan().to_arrow().to_pylist()
    assert sorted((row["reason"], row["kafka_offset"], row["stage"]) for row in dead) == [
        ("event_time_too_old", 2, "batch"),
        ("non_positive_price", 1, "batch"),
    ]
    assert [bar["trade_count"] for bar in contents(lake)["gold.bars_1m"]] == [1]
    assert all(record.verdict == "AGREE" for record in lake.reconcile(interval))


def test_drift_is_found_kept_and_not_pruned(lake: SmallLake) -> None:
    lake.produce(trade(1))
    lake.stream()
    interval = lake.land()
    lake.batch(interval)
    lake.reconcile(interval)
    lake.spark.sql("UPDATE lake.gold.bars_1m SET high = high + 0.00000001")
    (_, bars) = lake.reconcile(interval)
    assert (bars.verdict, bars.comparison.drifted, bars.pruned) == ("DRIFT", 1, 0)
    rows = lake.catalog.load_table("ops.reconciliations").scan("verdict = 'DRIFT'").to_arrow()
    (drift,) = rows.to_pylist()
    sample = json.loads(drift["drift_sample"])
    assert sample[0]["batch"]["high"] == "101.00000001"
    assert sample[0]["speed"]["high"] == "101.00000000"
    # What was compared can be read again, whatever is written since.
    lake.spark.sql("UPDATE lake.gold.bars_1m SET high = high - 0.00000001")
    assert [record.verdict for record in lake.reconcile(interval)] == ["AGREE", "AGREE"]
    for table, snapshot, high in (
        ("gold.bars_1m", drift["batch_snapshot_id"], "101.00000001"),
        ("gold.bars_1m_rt", drift["speed_snapshot_id"], "101"),
    ):
        compared = lake.catalog.load_table(table).scan(snapshot_id=snapshot).to_arrow()
        assert compared["high"].to_pylist() == [Decimal(high)]


def test_a_row_that_batch_should_have_but_has_not_is_drift(lake: SmallLake) -> None:
    lake.produce(trade(1))
    lake.stream()
    interval = lake.land()
    lake.batch(interval)
    lake.spark.sql("DELETE FROM lake.silver.trades")
    (trades, _) = lake.reconcile(interval)
    assert (trades.verdict, trades.comparison.missing_in_batch) == ("DRIFT", 1)


def test_pruning_lags_one_reconciliation_behind(lake: SmallLake) -> None:
    lake.produce(trade(1))
    lake.stream()
    interval = lake.land()
    lake.batch(interval)
    assert [record.pruned for record in lake.reconcile(interval)] == [0, 0]
    assert [record.pruned for record in lake.reconcile(interval)] == [1, 1]


def test_a_branch_is_dropped_when_its_run_fails(lake: SmallLake) -> None:
    with pytest.raises(RuntimeError), branches(lake.spark, TABLES, "doomed"):
        raise RuntimeError
    for name in TABLES:
        assert "doomed" not in lake.catalog.load_table(name).refs()


def test_runs_that_begin_at_once_have_a_branch_each(lake: SmallLake) -> None:
    """Iceberg refuses a branch if somebody commits to the table at that moment."""
    made = [Branch(TABLES[0], f"run_{number}") for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: one.create(lake.spark), made))
        assert {one.name for one in made} <= lake.catalog.load_table(TABLES[0]).refs().keys()
        list(pool.map(lambda one: one.drop(lake.spark), made))
    assert not {one.name for one in made} & lake.catalog.load_table(TABLES[0]).refs().keys()


def test_coverage_stops_at_the_first_gap(lake: SmallLake) -> None:
    intervals = []
    for number in range(3):
        lake.produce(trade(number))
        intervals.append(lake.land())
    (partition,) = (number for number, log in lake.logs.items() if log)
    lake.batch(intervals[0])
    lake.batch(intervals[2])
    assert batch_coverage(lake.catalog, "trades", "market.trades", 0) == {partition: 1}
    lake.batch(intervals[1])
    assert batch_coverage(lake.catalog, "trades", "market.trades", 0) == {partition: 3}


def test_what_the_lander_refused_between_two_runs_is_no_gap(lake: SmallLake) -> None:
    intervals = []
    for number in range(2):
        lake.produce(trade(number))
        intervals.append(lake.land())
        lake.refuse(trade(number))
    (partition,) = (number for number, log in lake.logs.items() if log)
    for interval in intervals:
        lake.batch(interval)
    assert batch_coverage(lake.catalog, "trades", "market.trades", 0) == {partition: 3}

"""A table is partitioned anew while it has data: both layers, the views and upkeep go on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from schema_drafts import Draft
from small_lake import BEFORE, SmallLake, trade

import schemas
from batch.maintenance.job import Maintenance
from batch.maintenance.report import Report
from demo.oracle import compare, naive_bars, naive_trades
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables
from serving.engine import SqlEngine

pytestmark = pytest.mark.integration

MIDNIGHT = datetime(2024, 8, 9, 0, 0, tzinfo=UTC)
AFTER = MIDNIGHT + timedelta(seconds=10)
MORNING = MIDNIGHT + timedelta(hours=5)
BARS, BARS_RT = "gold.bars_1m", "gold.bars_1m_rt"


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


def views(lake: SmallLake) -> dict[str, list[dict[str, Any]]]:
    engine = SqlEngine(lake.catalog)
    found = {
        view: engine.query(f"SELECT * FROM {view} ORDER BY ALL").to_pylist()
        for view in ("serving.bars_1m", "serving.trades")
    }
    engine.close()
    return found


def assert_complete(lake: SmallLake) -> None:
    found, log = views(lake), lake.events()
    for view, key, expected in (
        ("serving.bars_1m", ("venue", "symbol", "window_start"), naive_bars(log)),
        ("serving.trades", ("venue", "symbol", "trade_id", "event_time"), naive_trades(log)),
    ):
        verdict = compare(expected, found[view], key=key, ignore=("log_partition",))
        assert verdict.equal, f"{view}: {verdict}"


def partition_anew(
    lake: SmallLake, draft: Draft, monkeypatch: pytest.MonkeyPatch, **transforms: str
) -> None:
    """Change contracts and tables: of bars the window's partitions, of trades the event time's."""
    draft.change(BARS, "window_start", partitionTransform=transforms["bars"])
    draft.change("silver.trades", "event_time", partitionTransform=transforms["trades"])
    draft.deploy(monkeypatch)
    evolved = {one.table: one.changes for one in tables.apply(lake.catalog) if one.changes}
    assert set(evolved) == {BARS, BARS_RT, "silver.trades", "silver.trades_rt"}
    assert evolved[BARS] == (f"partitioned by {transforms['bars']}(window_start) from now on",)


def partitions(lake: SmallLake, table: str) -> set[tuple[str, Any]]:
    """Return the partitions that a table's files are in, each with the transform that made it."""
    loaded = lake.catalog.load_table(table)
    return {
        (str(loaded.specs()[task.file.spec_id].fields[0].transform), task.file.partition[0])
        for task in loaded.scan().plan_files()
    }


def maintain(
    lake: SmallLake, as_of: datetime, *names: str, days: int, dry_run: bool = False
) -> dict[str, Report]:
    wanted = [replace(schemas.contract(name), retention_days=days) for name in names]
    reports = Maintenance(lake.spark, lake.catalog, as_of, dry_run=dry_run).run(wanted)
    assert [report.put_off for report in reports] == [[]] * len(reports)
    return {report.table: report for report in reports}


@pytest.fixture
def halved(lake: SmallLake) -> SmallLake:
    """Both layers have rows of two days; the speed layer in three small files of each."""
    for number in (1, 2, 3):
        lake.produce(trade(number))
        lake.produce(trade(number, event_time=AFTER))
        lake.stream()
    lake.batch(lake.land())
    return lake


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        # Days and hours, since 1970, of 9 August 2024, of the hour before it and of its morning.
        (
            {"bars": "hour", "trades": "day"},
            {("day", 19944), ("hour", 19944 * 24 - 1), ("hour", 19944 * 24 + 5)},
        ),
        ({"bars": "month", "trades": "year"}, {("day", 19944), ("month", 54 * 12 + 7)}),
    ],
)
def test_rows_of_both_partitionings_are_one_table(
    halved: SmallLake,
    draft: Draft,
    monkeypatch: pytest.MonkeyPatch,
    transforms: dict[str, str],
    expected: set[tuple[str, int]],
) -> None:
    lake = halved
    before = views(lake)
    partition_anew(lake, draft, monkeypatch, **transforms)
    assert views(lake) == before
    # A late event of the first day, and the first of a new hour; the second day stays as it is.
    lake.produce(trade(1, event_type="CORRECTION", price=Decimal(7)))
    lake.produce(trade(4, event_time=BEFORE + timedelta(seconds=9)))
    lake.produce(trade(5, event_time=MORNING))
    lake.restart_speed()
    lake.stream()
    assert_complete(lake)
    interval = lake.land()
    lake.batch(interval)
    assert_complete(lake)
    assert partitions(lake, BARS) == expected
    records = lake.reconcile(interval)
    assert [record.verdict for record in records] == ["AGREE", "AGREE"], records
    assert_complete(lake)

    # The second day again, whose trades and bars are in the partitions of before.
    lake.produce(trade(2, event_time=AFTER, event_type="CANCEL"))
    lake.stream()
    lake.batch(lake.land())
    assert_complete(lake)
    assert {transform for transform, _ in partitions(lake, "silver.trades")} == {
        transforms["trades"]
    }
    stable = views(lake)
    lake.batch(interval)
    assert views(lake) == stable
    lake.reconcile(interval)
    lake.reconcile(interval)
    assert_complete(lake)


def test_upkeep_takes_each_row_by_the_partitions_it_is_in(
    halved: SmallLake, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = halved
    partition_anew(lake, draft, monkeypatch, bars="hour", trades="day")
    lake.produce(trade(5, event_time=MORNING))
    lake.stream()
    lake.batch(lake.land())
    before = views(lake)

    # Fewer than five small files in any partition, but six of the partitioning of before.
    young = AFTER + timedelta(days=30)
    planned = maintain(lake, young, BARS_RT, days=36_500, dry_run=True)[BARS_RT]
    done = maintain(lake, young, BARS_RT, days=36_500)[BARS_RT]
    assert planned.files_compacted == done.files_compacted == 6
    assert {transform for transform, _ in partitions(lake, BARS_RT)} == {"hour"}
    assert views(lake) == before

    # A day before this is in the morning, before five. Of the second day's first bar the whole day
    # goes at once, since it was written into a partition of a day.
    early = MIDNIGHT + timedelta(days=1, hours=3)
    retired = maintain(lake, early, BARS, days=1)[BARS]
    assert retired.retired_before == MIDNIGHT
    assert starts(lake) == [AFTER.replace(second=0), MORNING]

    # Once it is in a partition of an hour, it goes by the hour.
    lake.spark.sql(
        f"CALL lake.system.rewrite_data_files(table => 'lake.{BARS}', "
        "options => map('rewrite-all', 'true'))"
    ).collect()
    retired = maintain(lake, early, BARS, days=1)[BARS]
    assert retired.retired_before == MIDNIGHT + timedelta(hours=3)
    assert starts(lake) == [MORNING]


def starts(lake: SmallLake) -> list[datetime]:
    bars = lake.catalog.load_table(BARS).scan().to_arrow()
    return sorted(bars["window_start"].to_pylist())

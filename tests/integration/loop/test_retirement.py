"""Late events about time that upkeep has retired: what is left is whole, and layers agree on it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from customer_lake import CustomerLake
from customer_log import change
from fill_log import fill
from fills_lake import FillsLake
from pyspark.sql import SparkSession
from small_lake import BEFORE, SmallLake, trade

import schemas
from batch.activity import ACTIVITY
from batch.job import BatchJob
from batch.maintenance.job import Maintenance
from batch.maintenance.report import Outcome
from batch.rebuild.job import Rebuild
from batch.retirement import RETIRED_BEFORE, mark_retired, marks
from demo.oracle import compare, naive_bars, naive_days, naive_hours, naive_trades
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration

TRADES, MINUTES, HOURS, DAYS = (
    "silver.trades",
    "gold.bars_1m",
    "gold.bars_1h",
    "gold.market_daily",
)
NOON = BEFORE.replace(hour=12, minute=0, second=0)
MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)
MORNING = MIDNIGHT + timedelta(hours=5, seconds=20)
# A day earlier is in the second day: the first one has ended, its month and its year have not.
LATER = MIDNIGHT + timedelta(days=1, hours=8)


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    """Both layers have trades of three hours of two days."""
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    for number, at in enumerate((NOON, NOON, BEFORE, MORNING), start=1):
        lake.produce(trade(number, event_time=at))
    lake.stream()
    lake.batch(lake.land())
    return lake


def retire(lake: SmallLake, *tables: str, as_of: datetime = LATER, dry_run: bool = False) -> None:
    """Keep tables up as if their contracts kept rows for a day."""
    wanted = [replace(schemas.contract(name), retention_days=1) for name in tables]
    reports = Maintenance(lake.spark, lake.catalog, as_of, dry_run=dry_run).run(wanted)
    expected = Outcome.PLANNED if dry_run else Outcome.DONE
    assert [(report.outcome, report.files_retired > 0) for report in reports] == [
        (expected, True) for _ in tables
    ], reports


def rows(lake: SmallLake, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.catalog.load_table(table).scan().to_arrow().to_pylist()
    return found


def assert_same(
    actual: Iterable[Mapping[str, Any]], expected: Mapping[Any, Any], *key: str
) -> None:
    verdict = compare(expected, actual, key=("venue", "symbol", *key))
    assert verdict.equal, str(verdict)


def assert_longer_bars_are_whole(lake: SmallLake) -> None:
    """Compare hours and days, of which upkeep has retired nothing, with the oracle."""
    log = lake.events()
    assert_same(rows(lake, HOURS), naive_hours(log, include_tombstones=True), "window_start")
    assert_same(rows(lake, DAYS), naive_days(log, include_tombstones=True), "business_date")


def late_events(lake: SmallLake) -> None:
    """One of an hour that was known, its cancel, one of a new hour; and one of the second day."""
    lake.produce(trade(9, event_time=NOON + timedelta(minutes=1)))
    lake.produce(trade(1, event_time=NOON, event_type="CANCEL"))
    lake.produce(trade(10, event_time=NOON + timedelta(hours=3), price=Decimal(7)))
    lake.produce(trade(11, event_time=MORNING + timedelta(hours=1)))


def test_days_stay_whole_when_a_late_event_comes_after_their_minutes_went(lake: SmallLake) -> None:
    retire(lake, MINUTES)
    assert marks(lake.catalog, (MINUTES, DAYS)) == {MINUTES: MIDNIGHT}
    late_events(lake)
    lake.batch(lake.land())
    assert_longer_bars_are_whole(lake)
    log = lake.events()
    counted = [row for row in rows(lake, TRADES) if row["state"] in ("ACTIVE", "CORRECTED")]
    assert_same(counted, naive_trades(log), "trade_id", "event_time")
    kept = {k: bar for k, bar in naive_bars(log).items() if bar.window_start >= MIDNIGHT}
    assert len(kept) == 2
    assert_same(rows(lake, MINUTES), kept, "window_start")

    # What was retired once is not made again, whatever is retired next.
    retire(lake, MINUTES, as_of=LATER + timedelta(days=1))
    lake.produce(trade(12, event_time=MORNING))
    interval = lake.land()
    for _ in range(2):
        lake.batch(interval)
        assert_longer_bars_are_whole(lake)
        assert rows(lake, MINUTES) == []


def test_an_age_alone_cuts_nothing_off(lake: SmallLake) -> None:
    retire(lake, MINUTES, dry_run=True)
    late_events(lake)
    lake.batch(lake.land())
    assert marks(lake.catalog, (TRADES, MINUTES, HOURS, DAYS)) == {}
    assert_longer_bars_are_whole(lake)
    bars = naive_bars(lake.events(), include_tombstones=True)
    assert_same(rows(lake, MINUTES), bars, "window_start")


def test_a_time_to_come_retires_nothing(lake: SmallLake) -> None:
    now = datetime.now(UTC)
    wanted = replace(schemas.contract(MINUTES), retention_days=(now - NOON).days + 30)
    for present, is_over in ((now, False), (now + timedelta(days=31), True)):
        upkeep = Maintenance(lake.spark, lake.catalog, now + timedelta(days=31), present=present)
        assert [report.outcome for report in upkeep.run([wanted])] == [Outcome.DONE]
        assert bool(marks(lake.catalog, [MINUTES])) == is_over


def test_upkeep_that_died_before_it_deleted_has_done_no_harm(lake: SmallLake) -> None:
    mark_retired(lake.catalog, MINUTES, MIDNIGHT)
    late_events(lake)
    lake.batch(lake.land())
    assert_longer_bars_are_whole(lake)
    retire(lake, MINUTES)
    assert {row["window_start"].date() for row in rows(lake, MINUTES)} == {MORNING.date()}


def test_what_is_made_of_retired_trades_stays_as_it_was(lake: SmallLake) -> None:
    before = {name: rows(lake, name) for name in (HOURS, DAYS)}
    retire(lake, MINUTES, TRADES)
    lake.produce(trade(9, event_time=NOON + timedelta(minutes=1)))
    # The day has begun before what is left of its trades.
    assert marks(lake.catalog, [TRADES]) == {TRADES: LATER - timedelta(days=1)}
    lake.produce(trade(10, event_time=MORNING))
    report = lake.batch(lake.land())
    assert report.rows[TRADES] == report.rows[HOURS] == 0
    assert {row["window_start"].date() for row in rows(lake, MINUTES)} == {MORNING.date()}
    assert {name: rows(lake, name) for name in (HOURS, DAYS)} == before


def test_a_rebuild_makes_what_there_is(lake: SmallLake) -> None:
    retire(lake, MINUTES)
    late_events(lake)
    lake.batch(lake.land())
    rebuild = Rebuild([BatchJob(lake.spark, lake.catalog, lake.settings, lake.dataset)])
    _, found = rebuild.compare(rebuild.build())
    assert [one.equal for one in found] == [True] * 4, found
    rebuild.swap()
    assert_longer_bars_are_whole(lake)

    # Without the mark, nothing is retired.
    with lake.catalog.load_table(MINUTES).transaction() as changes:
        changes.remove_properties(RETIRED_BEFORE)
    rebuild.build()
    rebuild.swap()
    bars = naive_bars(lake.events(), include_tombstones=True)
    assert_same(rows(lake, MINUTES), bars, "window_start")


def test_retired_rows_of_the_speed_layer_are_pruned_and_not_missed(lake: SmallLake) -> None:
    """Upkeep comes before the first reconciliation, as it does when old trades are replayed."""
    retire(lake, MINUTES)
    late_events(lake)
    lake.stream()
    interval = lake.land()
    lake.batch(interval)
    trades, bars = lake.reconcile(interval)
    assert (trades.verdict, bars.verdict) == ("AGREE", "AGREE"), bars.comparison
    assert bars.comparison.only_in_speed == bars.comparison.missing_in_batch == 0
    assert bars.pruned > 0
    left = rows(lake, "gold.bars_1m_rt")
    assert {row["window_start"].date() for row in left} == {MORNING.date()}
    # What batch has covered goes by the rule, one reconciliation later.
    assert (trades.pruned, {row["trade_id"] for row in rows(lake, "silver.trades_rt")}) == (
        0,
        {1, 2, 3, 4, 9, 10, 11},
    )
    trades, bars = lake.reconcile(interval)
    assert bars.pruned == len(left)
    for name in ("gold.bars_1m_rt", "silver.trades_rt"):
        assert rows(lake, name) == []

    # One more of a minute that the speed layer remembers.
    lake.produce(trade(12, event_time=NOON))
    lake.stream()
    assert {row["window_start"] for row in rows(lake, "gold.bars_1m_rt")} == {NOON}
    interval = lake.land()
    lake.batch(interval)
    assert lake.reconcile(interval)[1].pruned == 1
    assert rows(lake, "gold.bars_1m_rt") == []
    assert_longer_bars_are_whole(lake)


def test_rows_that_batch_lacks_and_nobody_retired_are_still_missed(lake: SmallLake) -> None:
    retire(lake, MINUTES)
    lake.spark.sql(f"DELETE FROM lake.{MINUTES} WHERE true")
    lake.produce(trade(11, event_time=MORNING + timedelta(hours=1)))
    interval = lake.land()
    lake.batch(interval)
    bars = lake.reconcile(interval)[1]
    assert (bars.verdict, bars.comparison.missing_in_batch, bars.pruned) == ("DRIFT", 1, 0)


def test_retired_activity_does_not_come_back(spark: SparkSession, spark_settings: Settings) -> None:
    catalog = load_catalog(spark_settings)
    fills = FillsLake(spark, catalog, spark_settings)
    customers = CustomerLake(spark, catalog, spark_settings)
    july, august = (datetime(2024, month, 8, 12, tzinfo=UTC) for month in (7, 8))
    for number, at in enumerate((july, august), start=1):
        fills.produce(fill(number, customer_id="C-1", event_time=at))
    fills.batch(fills.land())
    retire(fills, ACTIVITY, as_of=august)
    fills.produce(fill(3, customer_id="C-1", event_time=july))
    fills.produce(fill(4, customer_id="C-1", event_time=august))
    fills.batch(fills.land())
    customers.batch(customers.land(change(customer_id="C-1")))
    assert [(row["business_date"], row["fill_count"]) for row in rows(fills, ACTIVITY)] == [
        (august.date(), 2)
    ]
    (position,) = rows(fills, "gold.positions")
    assert position["fill_count"] == 4

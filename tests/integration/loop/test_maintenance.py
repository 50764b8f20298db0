"""Upkeep beside the layers: the views stay as they are, files go, and nothing that is needed."""

import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
from fill_log import fill
from fills_lake import FillsLake
from pyspark.errors import IllegalArgumentException
from pyspark.sql import DataFrame, SparkSession
from small_lake import BEFORE, SmallLake, trade

import schemas
from batch.maintenance.job import Maintenance
from batch.maintenance.report import Outcome, Report
from batch.publication import branches
from batch.runs import Run, RunLog, Status
from demo.oracle import compare, naive_bars, naive_trades
from demo.positions_oracle import naive_positions
from lakehouse.catalog import load_catalog
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from serving.engine import SqlEngine
from serving.views import view_names

pytestmark = pytest.mark.integration

AFTER = datetime(2024, 8, 9, 0, 0, 10, tzinfo=UTC)
STREAMED = ("bronze.market_trades", "silver.trades_rt", "gold.bars_1m_rt")
POSITIONS_RT = "gold.positions_rt"
BATCH = ("silver.trades", "gold.bars_1m", "gold.bars_1h", "gold.market_daily")


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    for name in (*STREAMED, *BATCH):  # what the tables of other tests have left in the same place
        shutil.rmtree(data_folder(lake, name), ignore_errors=True)
    return lake


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def maintain(
    lake: SmallLake,
    as_of: datetime,
    tables: Iterable[str] = (*STREAMED, *BATCH),
    *,
    retention_days: int | None = 36_500,
    dry_run: bool = False,
    present: datetime | None = None,
) -> dict[str, Report]:
    """Keep tables up; the trades are of 2024, so contracts keep them for longer here."""
    wanted = [replace(schemas.contract(name), retention_days=retention_days) for name in tables]
    upkeep = Maintenance(lake.spark, lake.catalog, as_of, dry_run=dry_run)
    reports = replace(upkeep, present=present or upkeep.present).run(wanted)
    assert all(report.outcome != Outcome.FAILED for report in reports), reports
    return {report.table: report for report in reports}


def answers(lake: SmallLake) -> dict[str, list[dict[str, Any]]]:
    engine = SqlEngine(lake.catalog)
    found = {v: engine.query(f"SELECT * FROM {v} ORDER BY ALL").to_pylist() for v in view_names()}
    engine.close()
    return found


def assert_complete(lake: SmallLake) -> None:
    """Compare merged minutes and trades with the oracle over the whole log."""
    found, log = answers(lake), lake.events()
    for view, key, expected in (
        ("serving.bars_1m", ("venue", "symbol", "window_start"), naive_bars(log)),
        ("serving.trades", ("venue", "symbol", "trade_id", "event_time"), naive_trades(log)),
    ):
        verdict = compare(expected, found[view], key=key, ignore=("log_partition",))
        assert verdict.equal, f"{view}: {verdict}"


def data_folder(lake: SmallLake, table: str) -> Path:
    location = lake.catalog.load_table(table).location()
    return Path(unquote(urlsplit(location).path)) / "data"


def data_files(lake: SmallLake, table: str) -> set[Path]:
    """Return the data files that are stored, whether anything leads to them or not."""
    return set(data_folder(lake, table).rglob("*.parquet"))


@pytest.fixture
def busy(lake: SmallLake) -> SmallLake:
    """Both layers have worked in many small steps; speed is ahead of batch."""
    for number in range(1, 7):
        for venue in ("binance_spot", "binance_usdm"):
            lake.produce(trade(number, venue=venue))
            lake.produce(trade(number, venue=venue, event_time=AFTER))
        lake.stream()
        interval = lake.land()
        if number % 2 == 0:
            lake.batch(interval)
    lake.produce(trade(3, event_type="CANCEL"))
    lake.produce(trade(9, price=Decimal(7)))
    lake.stream()
    lake.land()
    return lake


def test_views_are_the_same_and_files_are_fewer(busy: SmallLake) -> None:
    before, stored = answers(busy), {name: data_files(busy, name) for name in STREAMED}
    planned = maintain(busy, in_days(8), dry_run=True)
    assert all(report.outcome is Outcome.PLANNED for report in planned.values())
    assert answers(busy) == before
    assert {name: data_files(busy, name) for name in STREAMED} == stored

    reports = maintain(busy, in_days(8))
    assert answers(busy) == before
    for name in STREAMED:
        report = reports[name]
        assert report.after is not None
        assert report.after.files < report.before.files
        assert report.files_compacted == planned[name].files_compacted > report.files_written
        if name != "bronze.market_trades":
            # What compaction has replaced is deleted, and nothing else.
            left = data_files(busy, name)
            assert len(left) == report.after.files
            assert stored[name] - left
    for name, report in reports.items():
        assert report.outcome is Outcome.DONE, name
        assert report.after is not None
        assert report.after.snapshots <= 2
    assert read_progress(busy.catalog.load_table("bronze.market_trades")) is not None
    rows = busy.catalog.load_table("ops.maintenance").scan().to_arrow().to_pylist()
    assert {row["table_name"]: row["files_after"] for row in rows} == {
        name: report.after.files for name, report in reports.items() if report.after
    }

    again = maintain(busy, in_days(8))
    assert {(r.files_compacted, r.put_off == []) for r in again.values()} == {(0, True)}
    busy.batch(busy.land())
    busy.stream()
    assert_complete(busy)
    # Until the lander's next commit its progress was in the snapshot before the compaction.
    landed = maintain(busy, in_days(8), ["bronze.market_trades"])["bronze.market_trades"].after
    assert landed is not None
    left = data_files(busy, "bronze.market_trades")
    assert len(left) == landed.files
    assert not stored["bronze.market_trades"] & left


def test_young_history_and_the_newest_minutes_are_left_alone(busy: SmallLake) -> None:
    """As of five minutes after the trades, a stream may still be appending their like."""
    at = BEFORE + timedelta(minutes=5)
    stored = {name: data_files(busy, name) for name in STREAMED}
    reports = maintain(busy, at)
    for name in STREAMED:
        report = reports[name]
        assert (report.files_compacted, report.snapshots_expired) == (0, 0), name
        assert data_files(busy, name) == stored[name]


def test_pins_survive(busy: SmallLake) -> None:
    table = busy.catalog.load_table("gold.bars_1m")
    pinned = table.current_snapshot()
    assert pinned is not None
    rows = table.scan(snapshot_id=pinned.snapshot_id).to_arrow().to_pylist()
    table.manage_snapshots().create_tag(pinned.snapshot_id, "reconciled").commit()
    with branches(busy.spark, ["gold.bars_1m"], "somebodys_own") as (branch,):
        busy.spark.sql(f"DELETE FROM {branch.target}")
        busy.produce(trade(50))
        busy.batch(busy.land())
        busy.spark.sql("DELETE FROM lake.gold.bars_1m WHERE trade_count > 0")
        report = maintain(busy, in_days(30))["gold.bars_1m"]
        assert report.snapshots_expired > 0
        kept = busy.catalog.load_table("gold.bars_1m")
        assert kept.scan(snapshot_id=pinned.snapshot_id).to_arrow().to_pylist() == rows
        assert branch.read(busy.spark).count() == 0


@pytest.fixture
def killed(lake: SmallLake) -> Iterator[str]:
    """A batch run that was killed while it worked on its branch; yields its id."""
    lake.produce(trade(1))
    interval = lake.land()
    lake.batch(interval)
    run = Run("batch", "trades", interval, ())
    RunLog(lake.catalog).record(run, Status.STARTED, snapshots={"bronze.market_trades": 1})
    lake.spark.sql(f"ALTER TABLE lake.silver.trades CREATE BRANCH `run_{run.run_id}`")
    lake.spark.sql(f"DELETE FROM lake.silver.trades.`branch_run_{run.run_id}`")
    return run.run_id


def test_a_run_at_work_is_left_in_peace_and_a_dead_one_is_cleared_away(
    lake: SmallLake, killed: str
) -> None:
    name = f"run_{killed}"
    tables = ("silver.trades", "bronze.market_trades")
    # A time to come makes nobody dead.
    silver, bronze = maintain(lake, in_days(8), tables, present=in_days(0.2)).values()
    assert (silver.outcome, bronze.outcome) == (Outcome.PUT_OFF, Outcome.PUT_OFF)
    assert name in str(silver.put_off)
    assert "reads the table" in str(bronze.put_off)
    assert name in lake.catalog.load_table("silver.trades").refs()

    silver, bronze = maintain(lake, in_days(8), tables, present=in_days(8)).values()
    assert silver.refs_dropped == (name,)
    assert (silver.put_off, bronze.put_off) == ([], [])
    left = lake.catalog.load_table("silver.trades")
    assert set(left.refs()) == {"main"}
    assert len(left.metadata.snapshots) == 1, "the dead branch still pins its snapshots"
    rows = lake.catalog.load_table("ops.maintenance").scan("table_name = 'silver.trades'")
    dropped = [json.loads(row["refs_dropped"]) for row in rows.to_arrow().to_pylist()]
    assert sorted(dropped) == [[], [name]]


def test_files_of_positions_are_put_together_while_the_speed_layer_appends(
    spark: SparkSession, spark_settings: Settings
) -> None:
    """They have no time, so none is too young; a prune and appends come in between."""
    lake = FillsLake(spark, load_catalog(spark_settings), spark_settings)
    stop, fault, compacted = threading.Event(), [], [0]

    def keep_up() -> None:
        try:
            while not stop.is_set():
                report = maintain(lake, in_days(0), [POSITIONS_RT])[POSITIONS_RT]
                compacted[0] += report.files_compacted
        except Exception as error:
            fault.append(error)

    upkeep = threading.Thread(target=keep_up)
    upkeep.start()
    try:
        number = 1
        while (number < 20 or not compacted[0]) and not fault:
            lake.produce(fill(number, customer_id="A" if number % 2 else "B"))
            lake.stream()
            interval = lake.land()
            if number % 5 == 0:
                lake.batch(interval)
                assert {record.verdict for record in lake.reconcile(interval)} == {"AGREE"}
            number += 1
    finally:
        stop.set()
        upkeep.join()
    assert fault == []
    engine = SqlEngine(lake.catalog)
    found = engine.query("SELECT * FROM serving.positions").to_pylist()
    engine.close()
    expected = naive_positions(lake.events())
    verdict = compare(
        expected, found, key=("customer_id", "venue", "symbol"), ignore=("log_partition",)
    )
    assert verdict.equal, str(verdict)


def test_retention_deletes_whole_partitions_that_are_too_old(busy: SmallLake) -> None:
    minutes = {row["window_start"].date() for row in answers(busy)["serving.bars_1m"]}
    assert minutes == {BEFORE.date(), AFTER.date()}
    # A day before this is in the middle of the second day.
    at = AFTER + timedelta(days=1, hours=5)
    gold = ("gold.bars_1m", "gold.bars_1h", "gold.market_daily")
    reports = maintain(busy, at, gold, retention_days=1)
    midnight = AFTER.replace(hour=0, minute=0, second=0)
    assert reports["gold.bars_1m"].retired_before == midnight
    days = {
        name: set(busy.catalog.load_table(name).scan().to_arrow()[column].to_pylist())
        for name, column in zip(
            gold, ("window_start", "window_start", "business_date"), strict=True
        )
    }
    assert {start.date() for start in days["gold.bars_1m"]} == {AFTER.date()}
    # Their partitions are months and years, which had not ended.
    assert {start.date() for start in days["gold.bars_1h"]} == minutes
    assert days["gold.market_daily"] == minutes
    assert (reports["gold.bars_1h"].files_retired, reports["gold.market_daily"].files_retired) == (
        0,
        0,
    )
    assert (
        maintain(busy, at, STREAMED[1:], retention_days=None)["silver.trades_rt"].files_retired == 0
    )


def test_the_retention_that_contracts_ship_ends_between_two_partitions(lake: SmallLake) -> None:
    """The day in which a row is just old enough is whole still, and the one before it is gone."""
    noon, minute = datetime(2024, 8, 9, 12, tzinfo=UTC), timedelta(minutes=1)
    kept_since = {
        "bronze.market_trades": ("ingested_at", datetime(2017, 8, 9, tzinfo=UTC)),
        "gold.bars_1m": ("window_start", datetime(2023, 8, 9, tzinfo=UTC)),
    }
    values: dict[str, Any] = {"venue": "binance_spot", "symbol": "BTCUSDT", "payload": b""}
    values |= dict.fromkeys(("kafka_timestamp", "event_time"), noon)
    for name, (column, since) in kept_since.items():
        schema = schemas.contract(name).arrow_schema()
        row = {field.name: values.get(field.name, 0) for field in schema if not field.nullable}
        rows = [row | {column: time} for time in (since - minute, since, noon)]
        lake.catalog.load_table(name).append(pa.Table.from_pylist(rows, schema))
    wanted = [schemas.contract(name) for name in kept_since]
    reports = Maintenance(lake.spark, lake.catalog, noon).run(wanted)
    assert [report.outcome for report in reports] == [Outcome.DONE, Outcome.DONE], reports
    for name, (column, since) in kept_since.items():
        left = lake.catalog.load_table(name).scan().to_arrow()[column].to_pylist()
        assert sorted(left) == [since, noon], name


def test_orphans_go_when_they_are_old(lake: SmallLake) -> None:
    lake.produce(trade(1))
    lake.land()
    (known,) = data_files(lake, "bronze.market_trades")
    old, young = (known.with_name(f"00000-{age}.parquet") for age in ("old", "young"))
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    for orphan in (old, young):
        orphan.write_bytes(b"left by a writer that died")
    os.utime(old, (long_ago, long_ago))
    os.utime(known, (long_ago, long_ago))
    # A time to come makes no file older than it is.
    report = maintain(lake, in_days(30), ["bronze.market_trades"])["bronze.market_trades"]
    assert report.orphans_deleted == 1
    assert data_files(lake, "bronze.market_trades") == {known, young}


def test_a_prune_that_a_compaction_has_overtaken_is_tried_again(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.produce(trade(1))
    lake.stream()
    interval = lake.land()
    lake.batch(interval)
    lake.reconcile(interval)
    ask, overtaken = SparkSession.sql, []

    def overtake_once(spark: SparkSession, query: str, *rest: Any) -> DataFrame:
        if query.startswith("MERGE INTO lake.silver.trades_rt") and not overtaken:
            overtaken.append(query)
            raise IllegalArgumentException("Missing required files to delete: moved.parquet")
        return ask(spark, query, *rest)

    monkeypatch.setattr(SparkSession, "sql", overtake_once)
    assert [record.pruned for record in lake.reconcile(interval)] == [1, 1]
    assert len(overtaken) == 1
    assert lake.catalog.load_table("silver.trades_rt").scan().to_arrow().num_rows == 0


def test_layers_at_work_meanwhile_lose_nothing(lake: SmallLake) -> None:
    """Upkeep goes round and round while everything else writes to the same tables."""
    stop, rounds, faults = threading.Event(), [0], []

    def keep_up() -> None:
        try:
            while not stop.is_set():
                maintain(lake, in_days(0))
                rounds[0] += 1
        except Exception as error:
            faults.append(error)

    upkeep = threading.Thread(target=keep_up)
    upkeep.start()
    try:
        number = 1
        while (number < 12 or rounds[0] < 2) and not faults:
            for venue in ("binance_spot", "binance_usdm"):
                lake.produce(trade(number, venue=venue))
            if number % 4 == 3:
                lake.produce(trade(number - 1, event_type="CANCEL"))
            lake.stream()
            interval = lake.land()
            if number % 3 == 2:
                lake.batch(interval)
                verdicts = [record.verdict for record in lake.reconcile(interval)]
                assert verdicts == ["AGREE", "AGREE"]
            number += 1
    finally:
        stop.set()
        upkeep.join()
    assert faults == []
    lake.batch(lake.land())
    lake.stream()
    assert_complete(lake)
    states = RunLog(lake.catalog).newest("batch", "trades")
    assert {state.status for state in states} == {Status.PUBLISHED}, "a commit failed towards a run"

"""The contract's rules before a publication: on record, kept aside, or refused."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dropped_files import FileLake
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from small_lake import SmallLake, trade

import batch.datasets.trades
from batch.quality import QualityError
from batch.references import REFERENCES, ReferenceJob
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration

BARS, VENDOR_BARS = "gold.bars_1m", "gold.eod_bars"
TEN = datetime(2024, 8, 9, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY_BAR = "Ticker,Date,Open,High,Low,Close,Volume\nAAPL,2024-08-08,100,{high},99,101,5\n"


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


def rows(lake: SmallLake, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.catalog.load_table(table).scan().to_arrow().to_pylist()
    return found


def verdicts(lake: SmallLake) -> dict[tuple[str, str], str]:
    found = rows(lake, "ops.quality_checks")
    return {(row["table_name"], row["rule"]): row["verdict"] for row in found}


def test_what_holds_and_what_only_warns_is_on_record_and_published(lake: SmallLake) -> None:
    lake.produce(trade(1))
    report = lake.batch(lake.land())
    found = {(row["table_name"], row["rule"]): row for row in rows(lake, "ops.quality_checks")}
    assert {row["run_id"] for row in found.values()} == {report.run_id}
    assert found["silver.trades", "key_is_unique"]["verdict"] == "HELD"
    assert found["gold.market_daily", "prices_are_in_their_range"]["verdict"] == "HELD"
    # The trades are of 2024-08-08, the interval begins six hours later.
    late = found["silver.trades", "newest_trade_is_recent"]
    assert (late["verdict"], late["severity"], late["expected"]) == ("BROKEN", "warn", "<= 7200")
    assert late["found"] > Decimal(7200)
    assert len(rows(lake, BARS)) == 1


def test_what_is_refused_is_not_kept_but_its_bad_events_are_dead_letters(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.produce(trade(1))
    lake.produce(trade(2, price=Decimal(-1)))
    interval = lake.land()
    bars_1m = batch.datasets.trades.bars_1m

    def with_too_low_highs(*arguments: Any) -> DataFrame:
        return bars_1m(*arguments).withColumn("high", (F.col("low") / 2).cast("decimal(18,8)"))

    monkeypatch.setattr(batch.datasets.trades, "bars_1m", with_too_low_highs)
    for _ in range(2):
        with pytest.raises(
            QualityError, match=r"gold.bars_1m: prices_are_in_their_range must be = 0, is 1"
        ):
            lake.batch(interval)
    assert verdicts(lake)[BARS, "prices_are_in_their_range"] == "BROKEN"
    for table in lake.dataset.tables:
        assert rows(lake, table) == []
        assert set(lake.catalog.load_table(table).refs()) == set()
    (run, again) = (row for row in rows(lake, "ops.runs") if row["status"] == "FAILED")
    assert "prices_are_in_their_range" in run["detail"]
    assert again["run_id"] != run["run_id"]

    def refused() -> list[tuple[str, int]]:
        dead = rows(lake, "bronze.dead_letters")
        return [(row["reason"], row["kafka_offset"]) for row in dead]

    assert refused() == [("non_positive_price", 1)]
    monkeypatch.undo()
    assert lake.batch(interval).refused == 1
    assert refused() == [("non_positive_price", 1)]
    assert [bar["trade_count"] for bar in rows(lake, BARS)] == [1]


def test_what_is_in_quarantine_can_be_looked_at_until_its_source_has_mended_it(
    lake: SmallLake, spark_settings: Settings, tmp_path: Path
) -> None:
    now = TEN
    drops = spark_settings.model_copy(update={"drop_folder": tmp_path / "drop"})
    files = FileLake(drops, clock=lambda: now)
    _, reference = REFERENCES
    job = ReferenceJob(lake.spark, lake.catalog, reference)
    assert reference.table == VENDOR_BARS

    files.loader.load(files.put("bars.csv", DAY_BAR.format(high=98), "eod_bars"))
    with pytest.raises(QualityError, match="prices_are_in_their_range"):
        job.run(Interval(TEN, TEN + HOUR))
    assert rows(lake, VENDOR_BARS) == []
    (broken,) = (row for row in rows(lake, "ops.quality_checks") if row["verdict"] == "BROKEN")
    assert (broken["severity"], broken["found"]) == ("quarantine", 1)
    branch = f"lake.{VENDOR_BARS}.branch_quarantine_run_{broken['run_id']}"
    assert [row.high for row in lake.spark.table(branch).collect()] == [98]

    now = TEN + HOUR
    files.loader.load(files.put("mended.csv", DAY_BAR.format(high=102), "eod_bars"))
    assert job.run(Interval(TEN + HOUR, TEN + 2 * HOUR)) is not None
    assert [row["high"] for row in rows(lake, VENDOR_BARS)] == [102]
    assert [row.high for row in lake.spark.table(branch).collect()] == [98]

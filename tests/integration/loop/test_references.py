"""From dropped files to the dimension of days and to a vendor's bars, by batch."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bokeh_sampledata import package_path
from dropped_files import FileLake, csv_of, instrument
from pyspark.sql import DataFrame, SparkSession
from small_lake import EPOCH, SmallLake, trade

from batch.audit import AuditError
from batch.job import Report
from batch.rebuild.job import NoVersionError, Rebuild
from batch.references import REFERENCES, ReferenceJob
from batch.retirement import mark_retired
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from serving.engine import SqlEngine

pytestmark = pytest.mark.integration

TEN = datetime(2024, 8, 9, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
(INSTRUMENTS, BARS) = REFERENCES


class Dropped:
    """The small lake with a drop folder; each file is loaded at a time of the test's choice."""

    def __init__(self, small: SmallLake, settings: Settings) -> None:
        self.small = small
        self.now = TEN
        self.files = FileLake(settings, clock=lambda: self.now)

    def load(self, name: str, content: str | bytes, hours: float, dataset: str) -> None:
        self.now = TEN + hours * HOUR
        verdict = self.files.loader.load(self.files.put(name, content, dataset))
        assert verdict is not None
        assert verdict.status == "LOADED"

    def instruments(self, name: str, hours: float, **changes: str) -> None:
        self.load(name, csv_of(instrument(**changes)), hours, "instruments")

    def run(self, hour: int, reference: Any = INSTRUMENTS) -> Report | None:
        interval = Interval(TEN + hour * HOUR, TEN + (hour + 1) * HOUR)
        return self.job(reference).run(interval)

    def job(self, reference: Any = INSTRUMENTS) -> ReferenceJob:
        return ReferenceJob(self.small.spark, self.small.catalog, reference)

    def rows(self, query: str) -> list[dict[str, Any]]:
        engine = SqlEngine(self.small.catalog)
        found: list[dict[str, Any]] = engine.query(query).to_pylist()
        engine.close()
        return found

    def ticks(self) -> list[tuple[date, date | None, Decimal]]:
        rows = self.rows("SELECT * FROM silver.instruments ORDER BY symbol, valid_from")
        return [(row["valid_from"], row["valid_to"], row["tick_size"]) for row in rows]


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings, tmp_path: Path) -> Dropped:
    small = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    return Dropped(small, spark_settings.model_copy(update={"drop_folder": tmp_path / "drop"}))


def test_reference_data_is_a_dimension_of_days(lake: Dropped) -> None:
    lake.small.produce(trade(1))  # on the 8th
    lake.small.produce(trade(2, event_time=EPOCH))
    lake.small.batch(lake.small.land())
    day = "SELECT business_date, close, tick_size, kind FROM serving.market_daily ORDER BY 1"
    assert [row["kind"] for row in lake.rows(day)] == [None, None]
    lake.instruments("i_2024-08-09.csv", 0.5, tick_size="0.5")
    report = lake.run(0)
    assert report is not None
    assert report.rows == {"silver.instruments": 1}
    assert [(row["close"], row["tick_size"], row["kind"]) for row in lake.rows(day)] == [
        (Decimal(101), None, None),
        (Decimal(102), Decimal("0.5"), "SPOT"),
    ]


def test_any_order_overlap_and_repetition_end_in_the_same_table(lake: Dropped) -> None:
    lake.instruments("i_2024-08-05.csv", 0.1, tick_size="1")
    lake.instruments("i_2024-08-01.csv", 1.1, tick_size="2")
    lake.instruments("j_2024-08-05.csv", 2.1, tick_size="3")
    for hour in (2, 0, 1):
        lake.run(hour)
    expected = [
        (date(2024, 8, 1), date(2024, 8, 5), Decimal(2)),
        (date(2024, 8, 5), None, Decimal(3)),
    ]
    assert lake.ticks() == expected
    before = lake.small.catalog.load_table("silver.instruments").current_snapshot()
    for hour in (1, 0, 2, 2):
        report = lake.run(hour)
        assert report is not None
        assert report.rows == {"silver.instruments": 0}
    assert lake.ticks() == expected
    assert lake.small.catalog.load_table("silver.instruments").current_snapshot() == before


def test_a_run_reads_only_what_was_loaded_before_its_end(lake: Dropped) -> None:
    lake.instruments("a_2024-08-01.csv", 0.5, tick_size="1")
    lake.instruments("b_2024-08-01.csv", 1.5, tick_size="2")
    lake.run(0)
    assert [tick for *_, tick in lake.ticks()] == [1]
    lake.run(1)
    assert [tick for *_, tick in lake.ticks()] == [2]
    lake.run(0)
    assert [tick for *_, tick in lake.ticks()] == [2], "an old interval takes nothing back"


def test_what_was_committed_after_its_hours_run_is_taken_by_the_next(lake: Dropped) -> None:
    lake.instruments("a_2024-08-01.csv", 0.1)
    lake.run(0)
    lake.instruments("b_2024-08-02.csv", 0.9, tick_size="7")  # it took long to load
    assert lake.run(1) is not None
    assert [tick for *_, tick in lake.ticks()] == [Decimal("0.01"), 7]


def test_without_files_nothing_is_run_nor_recorded(lake: Dropped) -> None:
    assert lake.run(0) is None
    lake.instruments("a.csv", 0.5)
    assert lake.run(0) is not None
    assert lake.run(3) is None
    runs = lake.rows("SELECT status FROM ops.runs WHERE kind = 'reference' ORDER BY recorded_at")
    assert [run["status"] for run in runs] == ["STARTED", "PUBLISHED"]


def test_a_failed_audit_publishes_nothing_and_says_why(lake: Dropped) -> None:
    lake.instruments("a.csv", 0.5)

    def doubled(transform: Callable[[DataFrame], DataFrame]) -> Callable[[DataFrame], DataFrame]:
        return lambda rows: transform(rows).union(transform(rows))

    broken = replace(INSTRUMENTS, transform=doubled(INSTRUMENTS.transform))
    with pytest.raises(AuditError, match="2 rows were computed, 1 were written"):
        lake.run(0, broken)
    assert lake.ticks() == []
    assert set(lake.small.catalog.load_table("silver.instruments").refs()) <= {"main"}
    (failed,) = lake.rows("SELECT detail FROM ops.runs WHERE status = 'FAILED'")
    assert "2 rows were computed" in failed["detail"]
    assert lake.run(0) is not None
    assert len(lake.ticks()) == 1


def test_real_bars_are_published_and_corrected_by_a_later_file(lake: Dropped) -> None:
    packed = Path(package_path("stocks.csv.gz")).read_bytes()
    lake.load("stocks.csv.gz", packed, 0.5, "eod_bars")
    first = lake.run(0, BARS)
    assert first is not None
    assert first.rows == {"gold.eod_bars": 12_154}
    correction = "Ticker,Date,Close\nAAPL,2000-03-01,130.32\nAAPL,2013-03-04,420.05\n"
    lake.load("fix.csv", correction, 1.5, "eod_bars")
    second = lake.run(1, BARS)
    assert second is not None
    assert second.rows == {"gold.eod_bars": 2}
    bars = lake.rows(
        "SELECT * FROM gold.eod_bars WHERE symbol = 'AAPL' ORDER BY business_date LIMIT 2"
    )
    assert [(bar["close"], bar["open"], bar["file_name"]) for bar in bars] == [
        (Decimal("130.32"), None, "fix.csv"),
        (Decimal("122"), Decimal("127"), "stocks.csv.gz"),
    ]
    assert {bar["venue"] for bar in bars} == {"consolidated"}
    (total,) = lake.rows("SELECT count(*) AS n, count(DISTINCT symbol) AS s FROM gold.eod_bars")
    assert total == {"n": 12_155, "s": 5}


def bar(year: int, close: int) -> str:
    return f"Ticker,Date,Close\nAAPL,{year}-03-01,{close}\n"


@pytest.fixture
def bars(lake: Dropped) -> Dropped:
    """Bars of two years, one of them corrected by a later file; all published."""
    for hour, (year, close) in enumerate(((2000, 1), (2001, 2), (2000, 3))):
        lake.load(f"{hour}.csv", bar(year, close), hour + 0.5, "eod_bars")
        lake.run(hour, BARS)
    return lake


def closes(lake: Dropped) -> list[int]:
    rows = lake.rows("SELECT close FROM gold.eod_bars ORDER BY business_date")
    return [int(row["close"]) for row in rows]


def test_what_is_made_of_files_can_be_built_anew(lake: Dropped) -> None:
    lake.instruments("i_2024-08-05.csv", 0.1, tick_size="1")
    lake.instruments("i_2024-08-01.csv", 1.1, tick_size="2")
    rebuild = Rebuild([lake.job()])
    with pytest.raises(NoVersionError, match="batch has published nothing of instruments"):
        rebuild.build()
    lake.run(0)
    lake.run(1)
    before = lake.ticks()
    version, found = rebuild.compare(rebuild.build())
    assert version.name == "instruments_v2"
    assert rebuild.events(version) == 2
    assert [(one.table, one.rows, one.equal) for one in found] == [("silver.instruments", 2, True)]
    rebuild.swap()
    assert rebuild.versions.current == "instruments_v2"
    assert lake.ticks() == before
    report = lake.run(1)
    assert report is not None
    assert report.rows == {"silver.instruments": 0}


def test_a_wrong_bar_is_named_mended_and_can_be_had_back(bars: Dropped) -> None:
    bars.small.spark.sql("UPDATE lake.gold.eod_bars SET close = 9 WHERE year(business_date) = 2001")
    rebuild = Rebuild([bars.job(BARS)])
    _, (found,) = rebuild.compare(rebuild.build())
    assert [one.partition for one in found.differences] == ["2001-01-01 00:00:00"]
    # Loaded meanwhile, and published: the new version must not lack it.
    bars.load("3.csv", bar(2002, 4), 3.5, "eod_bars")
    bars.run(3, BARS)
    assert closes(bars) == [3, 9, 4]
    rebuild.swap()
    assert closes(bars) == [3, 2, 4]
    assert rebuild.roll_back().name == "eod_bars_v3"
    assert closes(bars) == [3, 9, 4]


def test_a_rebuild_makes_no_bars_of_retired_time(bars: Dropped) -> None:
    bars.small.spark.sql("DELETE FROM lake.gold.eod_bars WHERE year(business_date) = 2000")
    mark_retired(bars.small.catalog, "gold.eod_bars", datetime(2001, 1, 1, tzinfo=UTC))
    rebuild = Rebuild([bars.job(BARS)])
    _, (found,) = rebuild.compare(rebuild.build())
    assert found.equal
    bars.load("late.csv", bar(2000, 5), 3.5, "eod_bars")
    bars.run(3, BARS)
    assert closes(bars) == [2]

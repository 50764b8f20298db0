"""The contract's rules before a publication: on record, kept aside, or refused."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from small_lake import SmallLake, trade

import batch.quality
import schemas
from batch.quality import QualityError
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from schemas import TableContract
from schemas.quality import Expectation, QualityRule, Severity

pytestmark = pytest.mark.integration

TABLE = "gold.bars_1m"


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


@pytest.fixture
def interval(lake: SmallLake) -> Interval:
    lake.produce(trade(1))
    lake.produce(trade(2))
    return lake.land()


def no_bar_above(limit: int, severity: Severity) -> QualityRule:
    return QualityRule(
        name="no_bar_above",
        description="Highest price.",
        dimension="validity",
        severity=severity,
        query="SELECT max(high) FROM ${object}",
        expected=Expectation(f"<= {limit}", lambda found: found <= limit),
    )


@pytest.fixture
def ruled(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the bars one rule instead of their own."""

    def rule(severity: Severity) -> None:
        def contract(table: str) -> TableContract:
            found = schemas.contract(table)
            mine = (no_bar_above(50, severity),)
            return replace(found, quality=mine if table == TABLE else ())

        monkeypatch.setattr(batch.quality, "contract", contract)

    return rule


def checks(lake: SmallLake) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        lake.catalog.load_table("ops.quality_checks").scan().to_arrow().to_pylist()
    )
    return rows


def bars(lake: SmallLake) -> int:
    count: int = lake.catalog.load_table(TABLE).scan().to_arrow().num_rows
    return count


def test_what_holds_and_what_only_warns_is_on_record_and_published(
    lake: SmallLake, interval: Interval
) -> None:
    report = lake.batch(interval)
    found = {(row["table_name"], row["rule"]): row for row in checks(lake)}
    assert {row["run_id"] for row in found.values()} == {report.run_id}
    assert found["gold.bars_1m", "prices_are_in_their_range"]["verdict"] == "HELD"
    # The trades are of 2024-08-08, the interval begins six hours later.
    late = found["silver.trades", "newest_trade_is_recent"]
    assert (late["verdict"], late["severity"], late["expected"]) == ("BROKEN", "warn", "<= 7200")
    assert late["found"] > Decimal(7200)
    assert bars(lake) == 1


def test_what_is_refused_is_neither_published_nor_kept(
    lake: SmallLake, interval: Interval, ruled: Any
) -> None:
    ruled(Severity.REFUSE)
    with pytest.raises(QualityError, match=r"gold.bars_1m: no_bar_above must be <= 50, is 102"):
        lake.batch(interval)
    assert [row["verdict"] for row in checks(lake)] == ["BROKEN"]
    assert bars(lake) == 0
    assert set(lake.catalog.load_table(TABLE).refs()) == set()
    runs = lake.catalog.load_table("ops.runs").scan(row_filter="status = 'FAILED'").to_arrow()
    assert "no_bar_above" in runs["detail"][0].as_py()


def test_what_is_in_quarantine_can_be_looked_at_on_its_branch(
    lake: SmallLake, interval: Interval, ruled: Any
) -> None:
    ruled(Severity.QUARANTINE)
    with pytest.raises(QualityError):
        lake.batch(interval)
    assert bars(lake) == 0
    [check] = checks(lake)
    branch = f"lake.{TABLE}.branch_quarantine_run_{check['run_id']}"
    assert [row.trade_count for row in lake.spark.table(branch).collect()] == [2]
    assert bars(lake) == 0

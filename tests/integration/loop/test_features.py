"""Features of a lake in which trades come late: always those of the trades that are published."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from small_lake import BEFORE, SmallLake, trade

from batch.features.job import FEATURES, FeaturesJob, NotPublishedError, moved_hours
from batch.runs import Run, RunLog, Status
from lakehouse.catalog import load_catalog
from lakehouse.intervals import HOUR, Interval
from lakehouse.settings import Settings
from lakehouse.transforms.features import features_1m

pytestmark = [pytest.mark.integration, pytest.mark.serving]

MIDNIGHT = BEFORE + timedelta(seconds=30)


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


def published(lake: SmallLake) -> Interval:
    """Land and publish what was produced; nothing was quoted."""
    interval = lake.land()
    lake.batch(interval)
    RunLog(lake.catalog).record(Run("batch", "quotes", interval, ()), Status.PUBLISHED)
    return interval


def stored(lake: SmallLake) -> list[dict[str, Any]]:
    return in_order(lake.catalog.load_table(FEATURES).scan().to_arrow().to_pylist())


def made_anew(lake: SmallLake) -> list[dict[str, Any]]:
    """What all trades come to."""
    tables = (lake.spark.table(f"lake.{name}") for name in ("silver.trades", "gold.spreads_1m"))
    return in_order(features_1m(*tables).toArrow().to_pylist())


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["venue"], row["symbol"], row["window_start"]))


def test_what_comes_late_moves_its_minute_and_those_that_look_back(lake: SmallLake) -> None:
    for minute in range(-20, 21):
        at, price = MIDNIGHT + minute * timedelta(seconds=59), Decimal(100 + minute % 7)
        lake.produce(trade(1000 + minute, event_time=at, price=price))
    job = FeaturesJob(lake.spark, lake.catalog)
    first = published(lake)
    report = job.run(first)
    assert report.rows[FEATURES] == len(stored(lake)) > 30
    assert stored(lake) == made_anew(lake)
    assert job.run(first).rows[FEATURES] == 0, "run again, it changes nothing"
    before = stored(lake)
    began = lake.catalog.load_table("ops.runs").scan("kind = 'derived' and status = 'STARTED'")
    for said in began.to_arrow().column("snapshots").to_pylist():
        assert "silver.trades" in json.loads(said), "upkeep is told what the run reads"

    lake.produce(trade(7, event_time=MIDNIGHT - timedelta(seconds=2), price=Decimal(150)))
    late = published(lake)
    assert moved_hours(lake.catalog, late) == (MIDNIGHT - HOUR,)
    report = job.run(late)
    assert report.business_hours == (MIDNIGHT - HOUR, MIDNIGHT)
    now = stored(lake)
    assert now == made_anew(lake)
    changed = [row["window_start"] for row, was in zip(now, before, strict=True) if row != was]
    assert len(changed) == report.rows[FEATURES]
    assert min(changed) == MIDNIGHT - timedelta(minutes=1)
    assert MIDNIGHT <= max(changed) <= MIDNIGHT + timedelta(minutes=15)

    # What corrects a trade later is no part of what was known of it.
    lake.produce(trade(7, event_type="CANCEL", event_time=MIDNIGHT - timedelta(seconds=2)))
    assert job.run(published(lake)).rows[FEATURES] == 0
    assert stored(lake) == now == made_anew(lake)


def test_features_wait_for_what_they_are_made_of(lake: SmallLake) -> None:
    lake.produce(trade())
    interval = lake.land()
    with pytest.raises(NotPublishedError, match="lakehouse batch --dataset trades"):
        FeaturesJob(lake.spark, lake.catalog).run(interval)
    lake.batch(interval)
    with pytest.raises(NotPublishedError, match="lakehouse batch --dataset quotes"):
        FeaturesJob(lake.spark, lake.catalog).run(interval)

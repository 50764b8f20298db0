"""Every answer that the merged views ever gave is given again as of that time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession
from small_lake import SmallLake, trade

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from serving.engine import SqlEngine
from serving.views import view_names

pytestmark = pytest.mark.integration


def edge() -> datetime:
    """Return a millisecond in which nothing is committed."""
    edge = int(time.time() * 1000) + 1
    while time.time() * 1000 < edge + 1:
        pass
    return datetime.fromtimestamp(edge / 1000, UTC)


def history(lake: SmallLake) -> Iterator[None]:
    """Publications, row versions, prunings and a cancelled window; yields after each step."""
    yield
    lake.produce(trade(1))
    lake.stream()
    yield
    interval = lake.land()
    lake.batch(interval)
    yield
    lake.produce(trade(1, event_type="CANCEL"))
    lake.produce(trade(2, venue="binance_usdm"))
    lake.stream()
    yield
    lake.reconcile(interval)
    lake.reconcile(interval)
    yield
    lake.batch(lake.land())
    yield


def test_every_answer_can_be_had_again(spark: SparkSession, spark_settings: Settings) -> None:
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    engine = SqlEngine(lake.catalog)

    def answers(as_of: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
        return {
            view: engine.query(f"SELECT * FROM {view} ORDER BY ALL", as_of=as_of).to_pylist()
            for view in view_names()
        }

    given = [(answers(), edge()) for _ in history(lake)]
    assert len({str(each) for each, _ in given}) >= 4
    for number, (then, at) in enumerate(given):
        assert answers(as_of=at) == then, f"step {number}"
    assert answers() == given[-1][0]
    engine.close()

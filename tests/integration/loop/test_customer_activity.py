"""Activity is made of two streams: whichever comes last, it is that of the customers as of then."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from customer_lake import DATASET, CustomerLake
from customer_log import NOON, change
from fill_log import bust, fill
from fills_lake import FillsLake
from pyspark.sql import SparkSession
from small_lake import EPOCH, TICK

from batch.activity import ACTIVITY
from batch.backfill import Backfill, Plan
from batch.job import BatchJob
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration

TODAY = date(2024, 8, 8)
C1, C2 = "C-1", "C-2"


class Lake:
    """Fills and customers on the same tables."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        catalog = load_catalog(settings)
        self.fills = FillsLake(spark, catalog, settings)
        self.customers = CustomerLake(spark, catalog, settings)
        self.catalog = catalog

    def trade(self, *events: dict[str, Any]) -> None:
        for event in events:
            self.fills.produce(event)
        self.fills.batch(self.fills.land())

    def change(self, *changes: dict[str, Any]) -> None:
        self.customers.batch(self.customers.land(*changes))

    def activity(self) -> list[tuple[Any, ...]]:
        names = ("customer_id", "segment", "fill_count", "notional", "fee", "business_date")
        rows = self.catalog.load_table(ACTIVITY).scan().to_arrow().to_pylist()
        return sorted(tuple(row[name] for name in names) for row in rows)


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> Lake:
    return Lake(spark, spark_settings)


def a_fill(number: int, minute: float, customer: str = C1) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    return fill(number, customer_id=customer, event_time=at, quantity=Decimal(1))


def row(customer: str, segment: str, count: int) -> tuple[Any, ...]:
    return customer, segment, count, Decimal(100) * count, Decimal("0.1") * count, TODAY


FILLS = [a_fill(1, 1), a_fill(2, 6), a_fill(3, 7), a_fill(1, 3, C2)]
CHANGES = [
    change("c", 0, 1, customer=C1),
    change("u", 5, 2, customer=C1, segment="PROFESSIONAL"),
]
EXPECTED = [row(C1, "PROFESSIONAL", 2), row(C1, "RETAIL", 1), row(C2, "UNKNOWN", 1)]


def test_it_is_the_same_whichever_stream_comes_first(lake: Lake) -> None:
    lake.trade(*FILLS)
    assert lake.activity() == [row(C1, "UNKNOWN", 3), row(C2, "UNKNOWN", 1)]
    lake.change(*CHANGES)
    assert lake.activity() == EXPECTED


def test_both_are_filled_in_side_by_side(lake: Lake) -> None:
    # They publish activity against each other: whoever is second computes again.
    lake.customers.landings = (EPOCH - NOON) // TICK
    for fills, changes in zip((FILLS[:2], FILLS[2:]), (CHANGES[:1], CHANGES[1:]), strict=True):
        for event in fills:
            lake.fills.produce(event)
        landed = lake.fills.land(), lake.customers.land(*changes)
        assert landed[0] == landed[1]
    plan = Plan(Interval(EPOCH, landed[0].end), TICK)
    spark, settings = lake.fills.spark, lake.fills.settings
    jobs = [
        BatchJob(spark.newSession(), lake.catalog, settings, one)
        for one in (lake.fills.dataset, DATASET)
    ]
    work = Backfill(jobs, lake.catalog)
    work.run(plan, parallel=len(jobs))
    assert lake.activity() == EXPECTED
    assert work.pending(plan) == {"fills": [], "customers": []}


def test_it_is_the_same_the_other_way_round(lake: Lake) -> None:
    lake.change(*CHANGES)
    assert lake.activity() == []
    lake.trade(*FILLS)
    assert lake.activity() == EXPECTED


def test_a_late_change_moves_what_was_done_after_it(lake: Lake) -> None:
    lake.trade(*FILLS)
    lake.change(CHANGES[0], change("u", 9, 3, customer=C1, segment="INSTITUTIONAL"))
    assert lake.activity() == [row(C1, "RETAIL", 3), row(C2, "UNKNOWN", 1)]
    lake.change(CHANGES[1])
    assert lake.activity() == EXPECTED


def test_what_was_taken_back_was_not_done(lake: Lake) -> None:
    lake.change(*CHANGES)
    lake.trade(*FILLS)
    lake.trade(bust(1, customer_id=C1, event_time=FILLS[0]["event_time"]))
    assert lake.activity() == [row(C1, "PROFESSIONAL", 2), row(C2, "UNKNOWN", 1)]

"""What customers did, by what they were when they did it, on hand-made fills."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from customer_log import at
from pyspark.sql import Row, SparkSession

from lakehouse.transforms.customers import (
    BUSINESS_COLUMNS,
    UNKNOWN,
    customer_activity_daily,
)

FILLS = (
    "fill_id long, customer_id string, venue string, symbol string, side string,"
    " notional decimal(38,16), fee decimal(18,8), event_time timestamp"
)
STATES = (
    "customer_id string, valid_from timestamp, valid_to timestamp,"
    " segment string, country string, status string, risk_class string"
)
TODAY = date(2024, 8, 8)

Activity = Callable[..., list[Row]]


def fill(number: int, minute: float, notional: str, **fields: Any) -> tuple[Any, ...]:
    stated = {
        "fill_id": number,
        "customer_id": "C1",
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "notional": Decimal(notional),
        "fee": Decimal("0.5"),
        "event_time": at(minute),
    }
    return tuple((stated | fields).values())


def state(start: float, end: float | None, segment: str, customer: str = "C1") -> tuple[Any, ...]:
    ended: datetime | None = None if end is None else at(end)
    return customer, at(start), ended, segment, "DE", "ACTIVE", "LOW"


@pytest.fixture
def activity(spark: SparkSession) -> Activity:
    def run(fills: list[tuple[Any, ...]], states: list[tuple[Any, ...]]) -> list[Row]:
        told = customer_activity_daily(
            spark.createDataFrame(fills, FILLS), spark.createDataFrame(states, STATES)
        )
        return told.orderBy("business_date", "customer_id", "first_fill_at").collect()

    return run


def test_a_day_of_one_customer_is_one_row(activity: Activity) -> None:
    fills = [
        fill(1, 1, "100"),
        fill(2, 2, "40", side="SELL", symbol="ETHUSDT"),
        fill(3, 3, "10", venue="binance_coinm"),
    ]
    (day,) = activity(fills, [state(0, None, "RETAIL")])
    assert (day.business_date, day.customer_id, day.segment) == (TODAY, "C1", "RETAIL")
    assert (day.fill_count, day.symbol_count) == (3, 3)
    assert (day.notional, day.bought_notional, day.sold_notional) == (150, 110, 40)
    assert day.fee == Decimal("1.5")
    assert (day.first_fill_at, day.last_fill_at) == (
        at(1).replace(tzinfo=None),
        at(3).replace(tzinfo=None),
    )


def test_a_fill_counts_for_what_the_customer_was_then(activity: Activity) -> None:
    fills = [fill(1, 4.999, "1"), fill(2, 5, "2"), fill(3, 9, "4")]
    states = [state(0, 5, "RETAIL"), state(5, None, "PROFESSIONAL")]
    days = activity(fills, states)
    assert [(day.segment, day.notional) for day in days] == [("RETAIL", 1), ("PROFESSIONAL", 6)]


def test_a_change_of_nothing_that_is_grouped_by_divides_no_day(activity: Activity) -> None:
    states = [state(0, 5, "RETAIL"), state(5, None, "RETAIL")]
    (day,) = activity([fill(1, 1, "1"), fill(2, 9, "2")], states)
    assert day.fill_count == 2


def test_a_fill_outside_of_any_life_counts_as_unknown(activity: Activity) -> None:
    fills = [fill(1, -1, "1"), fill(2, 5, "2"), fill(3, 6, "4"), fill(4, 6, "8", customer_id="C9")]
    days = activity(fills, [state(0, 5, "RETAIL"), state(7, None, "RETAIL")])
    assert [(day.customer_id, day.notional) for day in days] == [("C1", 7), ("C9", 8)]
    assert {day[name] for day in days for name in BUSINESS_COLUMNS} == {UNKNOWN}


def test_days_are_those_of_utc(activity: Activity) -> None:
    days = activity([fill(1, 0, "1"), fill(2, 12 * 60, "2")], [state(0, None, "RETAIL")])
    assert [day.business_date for day in days] == [TODAY, date(2024, 8, 9)]


def test_nothing_is_lost_or_counted_twice(activity: Activity) -> None:
    fills = [
        fill(number, number % 13, str(number), customer_id=f"C{number % 3}") for number in range(60)
    ]
    states = [
        state(start, start + 3, segment, customer=f"C{number}")
        for number in range(2)
        for start, segment in ((1, "RETAIL"), (4, "PROFESSIONAL"), (9, "RETAIL"))
    ]
    days = activity(fills, states)
    assert sum(day.notional for day in days) == sum(range(60))
    assert sum(day.fill_count for day in days) == 60

"""Bars of every length, on hand-made trades."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from trade_log import NOON

from lakehouse.transforms.bars import bars_1h, bars_1m, bars_1s, market_daily

Fields = dict[str, Any]
Trades = Callable[..., DataFrame]

TYPES = {
    "venue": "string",
    "symbol": "string",
    "trade_id": "long",
    "event_time": "timestamp",
    "state": "string",
    "price": "decimal(18,8)",
    "quantity": "decimal(38,8)",
    "notional": "decimal(38,16)",
    "log_partition": "int",
    "last_offset": "long",
}
# PySpark hands times over without a zone.
START = NOON.replace(tzinfo=None)


def trade(number: int, second: float, price: str, quantity: str = "2", **changes: Any) -> Fields:
    return {
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "trade_id": number,
        "event_time": NOON + timedelta(seconds=second),
        "state": "ACTIVE",
        "price": Decimal(price),
        "quantity": Decimal(quantity),
        "notional": Decimal(price) * Decimal(quantity),
        "log_partition": 0,
        "last_offset": number,
    } | changes


TRADES = (
    trade(2, 0.5, "101"),
    trade(1, 0.5, "100", "1"),  # the same time: the lower id came first
    trade(3, 59.999999, "103", state="CORRECTED"),
    trade(4, 61, "99", "3", last_offset=9),
    trade(5, 59, "500", state="UNMATCHED", last_offset=7),
)


@pytest.fixture
def trades(spark: SparkSession) -> Trades:
    """Make resolved trades."""

    def make(*rows: Fields) -> DataFrame:
        columns = ", ".join(f"{name} {type_}" for name, type_ in TYPES.items())
        return spark.createDataFrame([tuple(row[name] for name in TYPES) for row in rows], columns)

    return make


def by_start(bars: DataFrame) -> dict[datetime | date, Row]:
    key = "business_date" if "business_date" in bars.columns else "window_start"
    return {row[key]: row for row in bars.collect()}


def test_a_bar_is_what_happened_in_its_minute(trades: Trades) -> None:
    bars = by_start(bars_1m(bars_1s(trades(*TRADES))))
    assert set(bars) == {START, START + timedelta(minutes=1)}
    bar = bars[START]
    assert (bar.open, bar.high, bar.low, bar.close) == (100, 103, 100, 103)
    assert (bar.volume, bar.notional, bar.trade_count) == (5, 508, 3)
    assert bar.vwap == Decimal("101.6")
    assert bar.first_trade_at == START + timedelta(seconds=0.5)
    assert bar.last_trade_at == START + timedelta(seconds=59.999999)
    assert bar.last_offset == 7, "what counts nothing has been seen all the same"


@pytest.mark.parametrize(("transform", "start"), [(bars_1h, START), (market_daily, START.date())])
def test_coarser_bars_are_made_of_minutes(
    trades: Trades, transform: Callable[[DataFrame], DataFrame], start: datetime | date
) -> None:
    ((begins, bar),) = by_start(transform(bars_1m(bars_1s(trades(*TRADES))))).items()
    assert begins == start
    assert (bar.open, bar.high, bar.low, bar.close) == (100, 103, 99, 99)
    assert (bar.volume, bar.trade_count, bar.last_offset) == (8, 4, 9)


@pytest.mark.parametrize(
    ("lower", "higher", "average"),
    [
        ("1", "1", "0.00000003"),  # 2.5 units: to even it would be 2
        ("11", "9", "0.00000002"),  # 2.45 units: by way of 2.5 it would be 3
    ],
)
def test_the_average_price_is_rounded_once_half_up(
    trades: Trades, lower: str, higher: str, average: str
) -> None:
    of_both = trades(trade(1, 0, "0.00000002", lower), trade(2, 1, "0.00000003", higher))
    (bar,) = bars_1m(bars_1s(of_both)).collect()
    assert bar.vwap == Decimal(average)


def test_a_window_without_trades_that_count_is_a_tombstone(trades: Trades) -> None:
    seconds = bars_1s(trades(trade(1, 0, "100", state="CANCELLED")))
    for bars in (bars_1m(seconds), bars_1h(bars_1m(seconds))):
        (bar,) = bars.collect()
        assert (bar.trade_count, bar.volume, bar.notional, bar.last_offset) == (0, 0, 0, 1)
        assert (bar.open, bar.close, bar.vwap, bar.first_trade_at) == (None, None, None, None)


def test_a_tombstone_hides_no_price_of_another_second(trades: Trades) -> None:
    cancelled = trade(1, 0, "90", state="CANCELLED", last_offset=3)
    (bar,) = bars_1m(bars_1s(trades(cancelled, trade(2, 1, "100")))).collect()
    assert (bar.open, bar.low, bar.trade_count, bar.last_offset) == (100, 100, 1, 3)


def test_more_aggregates_are_of_a_second_only(trades: Trades) -> None:
    seconds = bars_1s(trades(*TRADES), F.max("trade_id").alias("highest_trade_id"))
    highest = {row.window_start: row.highest_trade_id for row in seconds.collect()}
    assert highest == {
        START: 2,
        START + timedelta(seconds=59): 5,
        START + timedelta(seconds=61): 4,
    }
    assert "highest_trade_id" not in bars_1m(seconds).columns

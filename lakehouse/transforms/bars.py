"""Bars: what happened to a symbol in a stretch of time. Pure functions, run by both layers."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.transforms.events import minute_of, second_of
from lakehouse.transforms.trades import (
    counts,
)

_MONEY = "decimal(38,16)"
_VOLUME = "decimal(38,8)"
_NOTHING: Mapping[str, str] = MappingProxyType({})


def bars_1s(trades: DataFrame, *more: Column, carried: Mapping[str, str] = _NOTHING) -> DataFrame:
    """Summarise trades by second of their event time: what every coarser bar is made of.

    Open and close are the first and last trade by event time, then by trade id. A second all of
    whose trades were cancelled keeps a row without prices and with trade_count 0 (a tombstone),
    so that an older row of the other layer cannot come back; so do all coarser bars.

    Args:
        trades: Resolved trades (`lakehouse.transforms.trades.resolve`), one row per trade.
        more: Further aggregates of a second's trades, named; coarser bars don't have them.
        carried: Columns that are added up over the trades that count, with the types of the sums;
            null where no trade has a value. So do all coarser bars with them.

    Returns:
        Grain: (venue, symbol, window_start). Prices and ``vwap`` in quote currency per base unit,
        ``volume`` in base units, ``notional`` in quote currency, ``last_offset`` the highest log
        position of any event about a trade of the window, duplicates and cancels included.
    """
    live = counts(F.col("state"))

    def of_live(column: str) -> Column:
        return F.when(live, F.col(column))

    # (event time, trade id) as one number: an ordering of fixed width keeps the aggregation a
    # hash aggregation. Ids have at most 19 digits, microseconds at most 17: 38 digits hold both.
    order = F.when(
        live,
        F.unix_micros("event_time").cast("decimal(17,0)") * F.lit(Decimal(10**19))
        + F.col("trade_id").cast("decimal(19,0)"),
    )
    bars = trades.groupBy(
        "venue", "symbol", second_of(F.col("event_time")).alias("window_start")
    ).agg(
        F.min_by("price", order).alias("open"),
        F.max(of_live("price")).alias("high"),
        F.min(of_live("price")).alias("low"),
        F.max_by("price", order).alias("close"),
        F.sum(of_live("quantity")).alias("volume"),
        F.sum(of_live("notional")).alias("notional"),
        F.count(of_live("trade_id")).alias("trade_count"),
        F.min(of_live("event_time")).alias("first_trade_at"),
        F.max(of_live("event_time")).alias("last_trade_at"),
        F.max("log_partition").alias("log_partition"),
        F.max("last_offset").alias("last_offset"),
        *(F.sum(of_live(name).cast(type_)).alias(name) for name, type_ in carried.items()),
        *more,
    )
    return _with_vwap(bars)


def bars_1m(seconds: DataFrame, carried: Mapping[str, str] = _NOTHING) -> DataFrame:
    """Summarise second bars by minute; same columns and units, ``window_start`` on the minute."""
    return _roll_up(seconds, minute_of(F.col("window_start")).alias("window_start"), carried)


def bars_1h(bars: DataFrame, carried: Mapping[str, str] = _NOTHING) -> DataFrame:
    """Summarise minute bars by hour; same columns and units, ``window_start`` on the hour."""
    return _roll_up(bars, F.date_trunc("hour", "window_start").alias("window_start"), carried)


def market_daily(bars: DataFrame, carried: Mapping[str, str] = _NOTHING) -> DataFrame:
    """Summarise minute bars by UTC day; same columns and units, ``business_date`` for the key."""
    return _roll_up(bars, F.to_date("window_start").alias("business_date"), carried)


def _roll_up(bars: DataFrame, bucket: Column, carried: Mapping[str, str]) -> DataFrame:
    """Summarise bars by a coarser stretch of time; tombstones add nothing but their position."""
    started = F.when(F.col("trade_count") > 0, F.col("window_start"))
    coarse = bars.groupBy("venue", "symbol", bucket).agg(
        F.min_by("open", started).alias("open"),
        F.max("high").alias("high"),
        F.min("low").alias("low"),
        F.max_by("close", started).alias("close"),
        F.sum("volume").alias("volume"),
        F.sum("notional").alias("notional"),
        F.sum("trade_count").alias("trade_count"),
        F.min("first_trade_at").alias("first_trade_at"),
        F.max("last_trade_at").alias("last_trade_at"),
        F.max("log_partition").alias("log_partition"),
        F.max("last_offset").alias("last_offset"),
        *(F.sum(F.col(name).cast(type_)).alias(name) for name, type_ in carried.items()),
    )
    return _with_vwap(coarse)


def _with_vwap(bars: DataFrame) -> DataFrame:
    """Fix the totals' types and add the volume-weighted average price, rounded half up."""
    totals = bars.withColumns(
        {
            "volume": F.coalesce("volume", F.lit(0)).cast(_VOLUME),
            "notional": F.coalesce("notional", F.lit(0)).cast(_MONEY),
        }
    )
    # decimal(38,16) by decimal(38,8) is decimal(38,8) in Spark: one rounding, half up.
    vwap = F.when(F.col("volume") > 0, F.col("notional") / F.col("volume"))
    return totals.withColumn("vwap", vwap.cast(_VOLUME))

"""Features: what was known of an instrument at the end of each minute, as inputs for models.

No value is later than its row's own time, ``known_at``. A trade is taken as it was reported: what
corrects or cancels it comes later, and is no part of what was known. So features follow the tape,
mistakes included, where bars follow the settled trades.

They are inputs of models, not sums that are reconciled, and floats: logarithms and roots are not
exact anyway. What is added up on the way is decimal, so that a row is the same whatever the order
in which its trades were read.
"""

from datetime import timedelta

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from lakehouse.transforms.events import minute_of, second_of

MINUTE = timedelta(minutes=1)
# Between two trades that are further apart nobody knows how the price moved.
LONGEST_SILENCE = MINUTE
# How far back of a row's own time trades can tell in it: fifteen minutes, and one of silence.
REACH = timedelta(minutes=16)
# Of each minute to the next in the weighted volatility: that of RiskMetrics (1996).
DECAY = 0.94

_KEY = ("venue", "symbol")
# A squared return of one part in ten million still has six digits in it.
_EXACT = "decimal(38,20)"


def features_1m(trades: DataFrame, spreads: DataFrame) -> DataFrame:
    """Tell what was known of an instrument at the end of each minute in which it traded.

    Prices are followed second by second: a return is that of a second's last price over the last
    price before it, at most a minute earlier. Volatility is the root of the mean square of a
    minute's returns added up. Nothing is null but what cannot be known: returns and volatility
    after a silence, spreads without quotes, the imbalance of trades whose aggressor is unknown.

    Args:
        trades: Rows of ``silver.trades``, those of `REACH` before the first minute among them: a
            minute that begins less than that after the first trade may lack some of its past.
        spreads: Rows of ``gold.spreads_1m`` of the same minutes.

    Returns:
        Grain: (venue, symbol, window_start). ``known_at``, the end of the minute; returns as
        natural logarithms, volatility as such per minute, imbalance from -1 (all sold) to 1 (all
        bought), the spread in basis points of the middle, intensity in events per second.
    """
    minutes = _minutes(_seconds(trades)).join(
        spreads.select(
            *_KEY,
            "window_start",
            (_float("spread") / _float("close_mid") * 10_000).alias("spread_bps"),
            (F.col("quote_count") / 60.0).alias("quote_intensity_1m"),
        ),
        [*_KEY, "window_start"],
        "left",
    )
    known = F.collect_list(F.struct("minute", "variance")).over(_last(15))
    return minutes.withColumn("known", known).select(
        *_KEY,
        "window_start",
        (F.col("window_start") + F.lit(MINUTE)).alias("known_at"),
        _float("return").alias("return_1m"),
        _float(F.sum("return").over(_last(5))).alias("return_5m"),
        F.sqrt(_float("variance")).alias("realised_volatility_1m"),
        F.sqrt(_float(F.avg("variance").over(_last(5)))).alias("realised_volatility_5m"),
        _weighted_volatility().alias("ewma_volatility_15m"),
        (_float("net_quantity") / _float("sided_quantity")).alias("order_flow_imbalance_1m"),
        (
            _float(F.sum("net_quantity").over(_last(5)))
            / _float(F.sum("sided_quantity").over(_last(5)))
        ).alias("order_flow_imbalance_5m"),
        "spread_bps",
        (F.col("trade_count") / 60.0).alias("trade_intensity_1m"),
        (F.sum("trade_count").over(_last(5)) / 300.0).alias("trade_intensity_5m"),
        F.coalesce("quote_intensity_1m", F.lit(0.0)).alias("quote_intensity_1m"),
        "trade_count",
    )


def _seconds(trades: DataFrame) -> DataFrame:
    """Summarise reported trades by second, with the return over the last price before it."""
    size = F.col("reported_quantity")
    is_bought, is_sold = F.col("aggressor_side") == "BUY", F.col("aggressor_side") == "SELL"
    seconds = (
        trades.where(F.col("trade_position").isNotNull())
        .groupBy(*_KEY, second_of(F.col("event_time")).alias("second"))
        .agg(
            _float(F.max_by("reported_price", F.struct("event_time", "trade_id"))).alias("price"),
            F.sum(F.when(is_bought, size).when(is_sold, -size)).alias("net_quantity"),
            F.sum(F.when(is_bought | is_sold, size)).alias("sided_quantity"),
            F.count("trade_id").alias("trade_count"),
        )
    )
    in_order = Window.partitionBy(*_KEY).orderBy("second")
    silence = F.col("second") - F.lag("second").over(in_order)
    moved = F.ln(F.col("price") / F.lag("price").over(in_order))
    return seconds.withColumn("return", F.when(silence <= F.lit(LONGEST_SILENCE), moved))


def _minutes(seconds: DataFrame) -> DataFrame:
    """Add up seconds by minute; ``minute`` counts them since 1970."""
    return (
        seconds.groupBy(*_KEY, minute_of(F.col("second")).alias("window_start"))
        .agg(
            F.sum(F.col("return").cast(_EXACT)).alias("return"),
            F.sum((F.col("return") * F.col("return")).cast(_EXACT)).alias("variance"),
            *(F.sum(name).alias(name) for name in ("net_quantity", "sided_quantity")),
            F.sum("trade_count").alias("trade_count"),
        )
        .withColumn("minute", F.expr("unix_seconds(window_start) DIV 60"))
    )


def _last(minutes: int) -> WindowSpec:
    """Return the window of a row's minute and those before it, so many in all."""
    return Window.partitionBy(*_KEY).orderBy("minute").rangeBetween(1 - minutes, 0)


def _weighted_volatility() -> Column:
    """Return the volatility of the ``known`` minutes, each weighing less than the one after it."""

    def weight(one: Column) -> Column:
        weight = F.pow(F.lit(DECAY), F.col("minute") - one["minute"])
        return F.when(one["variance"].isNotNull(), weight).otherwise(F.lit(0.0))

    squares = F.aggregate(
        "known",
        F.lit(0.0),
        lambda total, one: (
            total + weight(one) * F.coalesce(one["variance"].cast("double"), F.lit(0.0))
        ),
    )
    weights = F.aggregate("known", F.lit(0.0), lambda total, one: total + weight(one))
    return F.sqrt(F.when(weights > 0, squares / weights))


def _float(value: str | Column) -> Column:
    return (F.col(value) if isinstance(value, str) else value).cast("double")

"""Quotes: best bids and offers, and what they were minute by minute. Run by both layers.

The road of an event is that of a trade (see `lakehouse.transforms.trades`), but shorter: a quote is
never corrected, so of several reports of one order book update the first in the log counts.
"""

from datetime import timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse.transforms.events import instrument_rules, judge, minute_of, time_rules
from lakehouse.transforms.trades import BASE, CONTRACT

EXCHANGE, RECEIVED = "EXCHANGE", "RECEIVED"
MINUTE = timedelta(minutes=1)
_QUOTED = ("time_source", "bid_price", "bid_quantity", "ask_price", "ask_quantity", "quantity_unit")

OBSERVED_COLUMNS = (
    "venue",
    "symbol",
    "update_id",
    "event_time",
    *_QUOTED,
    "quote_position",
    "log_partition",
    "last_offset",
)


def quote_rules() -> dict[str, Column]:
    """Return the rules on events about quotes, by the reason of a breach."""
    return {
        **instrument_rules(),
        "invalid_update_id": F.col("update_id") < 0,
        "unknown_time_source": ~F.col("time_source").isin(EXCHANGE, RECEIVED),
        **time_rules(),
        "non_positive_price": (F.col("bid_price") <= 0) | (F.col("ask_price") <= 0),
        "non_positive_quantity": (F.col("bid_quantity") <= 0) | (F.col("ask_quantity") <= 0),
        "unknown_quantity_unit": ~F.col("quantity_unit").isin(BASE, CONTRACT),
        # Bid above offer is no market that anybody could have traded in.
        "crossed_quote": F.col("bid_price") > F.col("ask_price"),
    }


def validate(events: DataFrame) -> DataFrame:
    """Judge decoded events; the first rule that one breaks becomes its ``rejection``.

    Args:
        events: The result of `lakehouse.transforms.events.decode`, with ``kafka_timestamp``.

    Returns:
        The same rows and columns, ``rejection`` filled where it was null and a rule is broken.
    """
    return judge(events, quote_rules())


def observe(events: DataFrame) -> DataFrame:
    """Turn the accepted among validated events into what each says about its quote.

    Returns:
        One row per accepted event, `OBSERVED_COLUMNS`.
    """
    position = F.col("log_position")
    return (
        events.where(F.col("rejection").isNull())
        .withColumns({"quote_position": position, "last_offset": position})
        .select(*OBSERVED_COLUMNS)
    )


def resolve(observations: DataFrame) -> DataFrame:
    """Fold everything that was said about each quote into its one row.

    Commutative, associative and idempotent: a resolved row is itself an observation.

    Args:
        observations: `OBSERVED_COLUMNS`, from `observe` or of already resolved rows.

    Returns:
        Grain: (venue, symbol, update_id) within the UTC minute of the quote. `OBSERVED_COLUMNS`,
        prices in quote currency per base unit, quantities in ``quantity_unit``.
    """
    first = F.min_by(F.struct("event_time", *_QUOTED), "quote_position").alias("first")
    return (
        observations.groupBy(
            "venue", "symbol", "update_id", minute_of(F.col("event_time")).alias("minute")
        )
        .agg(
            first,
            F.min("quote_position").alias("quote_position"),
            F.max("log_partition").alias("log_partition"),
            F.max("last_offset").alias("last_offset"),
        )
        .select("*", "first.*")
        .select(*OBSERVED_COLUMNS)
    )


def spreads_1m(quotes: DataFrame) -> DataFrame:
    """Summarise quotes by the UTC minute of their event time.

    A quote stands until the next one by event time, then by update id; the last of a minute until
    the minute's end. The time before a minute's first quote is left out, so that a minute depends
    on its own events alone.

    Args:
        quotes: Resolved quotes (`resolve`), all of each minute.

    Returns:
        Grain: (venue, symbol, window_start). Middles (exact, 9 places) and spreads in quote
        currency per base unit; ``spread`` is weighted by time over ``quoted_microseconds`` and
        rounded half up to 8 places; ``last_offset`` the highest log position of any event about a
        quote of the window, duplicates included.
    """
    start = minute_of(F.col("event_time"))
    order = ("event_time", "update_id")
    in_order = Window.partitionBy("venue", "symbol", "window_start").orderBy(*order)
    until = F.coalesce(F.lead("event_time").over(in_order), F.col("window_start") + F.lit(MINUTE))
    # decimal(8,0) holds the 60,000,000 microseconds of a minute.
    stood = (F.unix_micros(until) - F.unix_micros("event_time")).cast("decimal(8,0)")
    placed = quotes.withColumn("window_start", start).withColumns(
        {
            "stood": stood,
            "spread": F.col("ask_price") - F.col("bid_price"),
            # Half of a sum of prices has one more place than a price, and no more.
            "mid": ((F.col("bid_price") + F.col("ask_price")) * F.expr("0.5BD")).cast(
                "decimal(20,9)"
            ),
            "place": F.struct(*order),
        }
    )
    return (
        placed.groupBy("venue", "symbol", "window_start")
        .agg(
            F.min_by("mid", "place").alias("open_mid"),
            F.max("mid").alias("high_mid"),
            F.min("mid").alias("low_mid"),
            F.max_by("mid", "place").alias("close_mid"),
            F.sum(F.col("spread") * F.col("stood")).cast("decimal(38,8)").alias("weighted"),
            F.min("spread").alias("min_spread"),
            F.max("spread").alias("max_spread"),
            F.sum("stood").cast("long").alias("quoted_microseconds"),
            F.count("*").alias("quote_count"),
            F.min("event_time").alias("first_quote_at"),
            F.max("event_time").alias("last_quote_at"),
            F.max("log_partition").alias("log_partition"),
            F.max("last_offset").alias("last_offset"),
        )
        # decimal(38,8) by decimal(8,0) is decimal(38,8) in Spark: one rounding, half up.
        .withColumn(
            "spread",
            (F.col("weighted") / F.col("quoted_microseconds").cast("decimal(8,0)")).cast(
                "decimal(38,8)"
            ),
        )
        .drop("weighted")
    )

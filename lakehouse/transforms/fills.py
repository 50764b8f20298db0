"""Fills of our clients: from log records to one resolved row per fill. Pure functions.

The road of an event is that of `lakehouse.transforms.trades`, and so is the promise: `resolve` is
commutative, associative and idempotent, and a resolved row is itself an observation.
"""

from collections.abc import Iterable
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.transforms.events import instrument_rules, judge, time_rules

FILL, BUST = "FILL", "BUST"
BUY, SELL = "BUY", "SELL"
ACTIVE, BUSTED, UNMATCHED = "ACTIVE", "BUSTED", "UNMATCHED"

# What identifies a fill, wherever and whenever it is said to have happened.
FILL_KEY = ("customer_id", "fill_id")

# A position adds up notionals with 21 digits before the point, one less than a market's totals:
# bounded fills keep ten million of them from overflowing, which would stop a layer for good.
MAX_NOTIONAL = Decimal(10**14)

# What the first report of a fill says of it; a bust repeats what comes before the side.
_NAMED = ("order_id", "venue", "symbol", "event_time")
_REPORTED = ("side", "quantity", "price", "fee")

OBSERVED_COLUMNS = (
    *FILL_KEY,
    *_NAMED,
    *_REPORTED,
    "fill_position",
    "bust_position",
    "log_partition",
    "last_offset",
)


def fill_rules() -> dict[str, Column]:
    """Return the rules on events about fills, by the reason of a breach."""
    is_fill = F.col("event_type") == FILL
    price, quantity = F.col("price"), F.col("quantity")
    return {
        "unknown_event_type": ~F.col("event_type").isin(FILL, BUST),
        "invalid_customer_id": ~F.col("customer_id").rlike(r"\A[A-Za-z0-9_-]{1,64}\z"),
        "invalid_order_id": F.col("order_id") < 0,
        "invalid_fill_id": F.col("fill_id") < 0,
        **instrument_rules(),
        **time_rules(),
        "unknown_side": is_fill & ~F.coalesce(F.col("side").isin(BUY, SELL), F.lit(False)),
        "missing_price": is_fill & price.isNull(),
        "non_positive_price": is_fill & (price <= 0),
        "missing_quantity": is_fill & quantity.isNull(),
        "non_positive_quantity": is_fill & (quantity <= 0),
        "missing_fee": is_fill & F.col("fee").isNull(),
        "implausible_size": is_fill & (price * quantity > MAX_NOTIONAL),
    }


def validate(events: DataFrame) -> DataFrame:
    """Judge decoded events; the first rule that one breaks becomes its ``rejection``.

    Args:
        events: The result of `lakehouse.transforms.events.decode`, with ``kafka_timestamp``.

    Returns:
        The same rows and columns, ``rejection`` filled where it was null and a rule is broken.
    """
    return judge(events, fill_rules())


def observe(events: DataFrame, carried: Iterable[str] = ()) -> DataFrame:
    """Turn the accepted among validated events into what each says about its fill.

    Args:
        events: The result of `validate`.
        carried: Fields that are taken along as a fill's first report states them.

    Returns:
        One row per accepted event, `OBSERVED_COLUMNS` and the carried ones.
    """
    is_fill, position = F.col("event_type") == FILL, F.col("log_position")
    return events.where(F.col("rejection").isNull()).select(
        *FILL_KEY,
        *_NAMED,
        *(F.when(is_fill, F.col(name)).alias(name) for name in _REPORTED),
        F.when(is_fill, position).alias("fill_position"),
        F.when(~is_fill, position).alias("bust_position"),
        "log_partition",
        position.alias("last_offset"),
        *(F.when(is_fill, F.col(name)).alias(name) for name in carried),
    )


def resolve(observations: DataFrame, carried: Iterable[str] = ()) -> DataFrame:
    """Fold everything that was said about each fill into its one row.

    Of several reports of a fill the first in the log counts, the others are duplicates, whatever
    they say. A bust holds for good, also one that came before its fill. A bust of a fill that was
    not reported waits for it.

    Args:
        observations: `OBSERVED_COLUMNS`, from `observe` or of already resolved rows.
        carried: Columns that they have beside these, of the report that counts.

    Returns:
        Grain: (customer_id, fill_id). `OBSERVED_COLUMNS`, the carried ones and ``state``,
        ``notional`` (quote currency, 16 places). While a fill is UNMATCHED, what names it is what
        its first bust says; ``side``, ``quantity``, ``price``, ``fee``, ``notional`` and what is
        carried are null.
    """
    said = F.struct(*_NAMED, *_REPORTED, *carried)
    folded = observations.groupBy(*FILL_KEY).agg(
        F.coalesce(F.min_by(said, "fill_position"), F.min_by(said, "bust_position")).alias("said"),
        F.min("fill_position").alias("fill_position"),
        F.min("bust_position").alias("bust_position"),
        F.max("log_partition").alias("log_partition"),
        F.max("last_offset").alias("last_offset"),
    )
    return (
        folded.select("*", "said.*")
        .drop("said")
        .withColumns(
            {
                "state": F.when(F.col("fill_position").isNull(), UNMATCHED)
                .when(F.col("bust_position").isNotNull(), BUSTED)
                .otherwise(ACTIVE),
                # decimal(18,8) times decimal(18,8) is decimal(37,16): no digit is lost.
                "notional": (F.col("quantity") * F.col("price")).cast("decimal(38,16)"),
            }
        )
    )


def counts(state: Column) -> Column:
    """Tell whether a fill in this state is part of its position."""
    return state == ACTIVE

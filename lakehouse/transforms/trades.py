"""Trades: from events to one resolved row per trade. Pure functions, run by both layers.

The road of an event: `lakehouse.transforms.events.decode` reads it, `validate` judges it, `observe`
turns it into what it says about its trade, `resolve` folds everything said about a trade into one
row.

`resolve` is a merge in the mathematical sense: commutative, associative and idempotent. A resolved
row is itself an observation, so rows may be folded again with newer events, with the other layer's
rows, or with themselves, in any order, and the result is the same. Replays and overlaps are
therefore harmless.
"""

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.transforms.bounds import MAX_CONTRACT_SIZE, MAX_NOTIONAL
from lakehouse.transforms.events import instrument_rules, judge, minute_of, time_rules

TRADE, CORRECTION, CANCEL = "TRADE", "CORRECTION", "CANCEL"
BASE, CONTRACT = "BASE", "CONTRACT"
ACTIVE, CORRECTED, CANCELLED, UNMATCHED = "ACTIVE", "CORRECTED", "CANCELLED", "UNMATCHED"

OBSERVED_COLUMNS = (
    "venue",
    "symbol",
    "trade_id",
    "event_time",
    "aggressor_side",
    "reported_price",
    "reported_quantity",
    "quantity_unit",
    "contract_size",
    "corrected_price",
    "corrected_quantity",
    "trade_position",
    "correction_position",
    "cancel_position",
    "log_partition",
    "last_offset",
)


def counts(state: Column) -> Column:
    """Tell whether a trade in this state is part of the market's totals."""
    return state.isin(ACTIVE, CORRECTED)


def trade_rules() -> dict[str, Column]:
    """Return the rules on events about trades, by the reason of a breach."""
    is_cancel = F.col("event_type") == CANCEL
    price, quantity = F.col("price"), F.col("quantity")
    return {
        "unknown_event_type": ~F.col("event_type").isin(TRADE, CORRECTION, CANCEL),
        **instrument_rules(),
        "invalid_trade_id": F.col("trade_id") < 0,
        **time_rules(),
        "missing_price": ~is_cancel & price.isNull(),
        "non_positive_price": ~is_cancel & (price <= 0),
        "missing_quantity": ~is_cancel & quantity.isNull(),
        "non_positive_quantity": ~is_cancel & (quantity <= 0),
        "unknown_quantity_unit": ~is_cancel & ~F.col("quantity_unit").isin(BASE, CONTRACT),
        "missing_contract_size": (F.col("quantity_unit") == CONTRACT)
        & ~is_cancel
        & ~F.coalesce(F.col("contract_size") > 0, F.lit(False)),
        "implausible_size": ~is_cancel
        & (
            (price * quantity > MAX_NOTIONAL)
            | F.coalesce(F.col("contract_size") > MAX_CONTRACT_SIZE, F.lit(False))
        ),
    }


def validate(events: DataFrame) -> DataFrame:
    """Judge decoded events; the first rule that one breaks becomes its ``rejection``.

    Args:
        events: The result of `decode`, with ``kafka_timestamp``.

    Returns:
        The same rows and columns, ``rejection`` filled where it was null and a rule is broken.
    """
    return judge(events, trade_rules())


def observe(events: DataFrame, carried: Iterable[str] = ()) -> DataFrame:
    """Turn the accepted among validated events into what each says about its trade.

    Args:
        events: The result of `validate`.
        carried: Fields that are taken along as a trade's first report states them.

    Returns:
        One row per accepted event, `OBSERVED_COLUMNS` and the carried ones.
    """
    is_trade, is_correction = (F.col("event_type") == kind for kind in (TRADE, CORRECTION))
    position = F.col("log_position")
    return events.where(F.col("rejection").isNull()).select(
        "venue",
        "symbol",
        "trade_id",
        "event_time",
        F.when(is_trade, F.col("aggressor_side")).alias("aggressor_side"),
        F.when(is_trade, F.col("price")).alias("reported_price"),
        F.when(is_trade, F.col("quantity")).alias("reported_quantity"),
        F.when(is_trade, F.col("quantity_unit")).alias("quantity_unit"),
        F.when(is_trade, F.col("contract_size")).alias("contract_size"),
        F.when(is_correction, F.col("price")).alias("corrected_price"),
        F.when(is_correction, F.col("quantity")).alias("corrected_quantity"),
        F.when(is_trade, position).alias("trade_position"),
        F.when(is_correction, position).alias("correction_position"),
        F.when(F.col("event_type") == CANCEL, position).alias("cancel_position"),
        "log_partition",
        position.alias("last_offset"),
        *(F.when(is_trade, F.col(name)).alias(name) for name in carried),
    )


def resolve(observations: DataFrame, carried: Iterable[str] = ()) -> DataFrame:
    """Fold everything that was said about each trade into its one row.

    Of several reports of a trade the first in the log counts, the others are duplicates. The last
    correction in the log replaces price and quantity. A cancel holds for good, also one that came
    before its trade. Corrections and cancels of a trade that was not reported wait for it.

    Args:
        observations: `OBSERVED_COLUMNS`, from `observe` or of already resolved rows.
        carried: Columns that they have beside these, of the report that counts.

    Returns:
        Grain: (venue, symbol, trade_id) within the UTC minute of the trade. `OBSERVED_COLUMNS`,
        the carried ones and ``state``, ``price`` (quote currency per base unit), ``quantity``
        (base units, 8 places), ``notional`` (quote currency, 16 places). The latter three are
        null while a trade is UNMATCHED.
    """

    def as_reported(column: str) -> Column:
        return F.min_by(column, "trade_position").alias(column)

    def as_corrected(column: str) -> Column:
        return F.max_by(column, "correction_position").alias(column)

    # Codes instead of strings: Spark aggregates by hash only while all values have a fixed width.
    coded = observations.withColumns(
        {
            "side_code": F.expr("CASE aggressor_side WHEN 'BUY' THEN 1 WHEN 'SELL' THEN -1 END"),
            "unit_code": F.expr(f"CASE quantity_unit WHEN '{BASE}' THEN 0 ELSE 1 END"),
        }
    )
    folded = coded.groupBy(
        "venue", "symbol", "trade_id", minute_of(F.col("event_time")).alias("minute")
    ).agg(
        F.coalesce(F.min_by("event_time", "trade_position"), F.min("event_time")).alias(
            "event_time"
        ),
        as_reported("side_code"),
        as_reported("unit_code"),
        as_reported("reported_price"),
        as_reported("reported_quantity"),
        as_reported("contract_size"),
        as_corrected("corrected_price"),
        as_corrected("corrected_quantity"),
        F.min("trade_position").alias("trade_position"),
        F.max("correction_position").alias("correction_position"),
        F.min("cancel_position").alias("cancel_position"),
        F.max("log_partition").alias("log_partition"),
        F.max("last_offset").alias("last_offset"),
        *map(as_reported, carried),
    )
    decoded = folded.withColumns(
        {
            "aggressor_side": F.expr("CASE side_code WHEN 1 THEN 'BUY' WHEN -1 THEN 'SELL' END"),
            "quantity_unit": F.expr(
                f"CASE WHEN trade_position IS NOT NULL THEN "
                f"CASE unit_code WHEN 0 THEN '{BASE}' ELSE '{CONTRACT}' END END"
            ),
        }
    ).drop("minute", "side_code", "unit_code")
    return _with_values(decoded)


def _with_values(trades: DataFrame) -> DataFrame:
    """Add what follows from a trade's observations: its state, price, quantity and notional."""
    reported = F.col("trade_position").isNotNull()
    state = (
        F.when(~reported, UNMATCHED)
        .when(F.col("cancel_position").isNotNull(), CANCELLED)
        .when(F.col("correction_position").isNotNull(), CORRECTED)
        .otherwise(ACTIVE)
    )
    price = F.when(reported, F.coalesce("corrected_price", "reported_price"))
    size = F.when(reported, F.coalesce("corrected_quantity", "reported_quantity"))
    in_contracts = F.col("quantity_unit") == CONTRACT
    # decimal(18,8) times decimal(18,8) is decimal(37,16): no digit is lost.
    worth = F.when(in_contracts, size * F.col("contract_size")).otherwise(size * price)
    return (
        trades.withColumn("state", state)
        .withColumn("price", price)
        .withColumn("notional", worth.cast("decimal(38,16)"))
        # decimal(38,16) by decimal(18,8) is decimal(38,8) in Spark: one rounding, half up.
        .withColumn(
            "quantity",
            F.when(in_contracts, F.col("notional") / price).otherwise(size).cast("decimal(38,8)"),
        )
    )

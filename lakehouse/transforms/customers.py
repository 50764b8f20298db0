"""Customers: from captured changes to their history (SCD type 2). Pure functions.

The road of a change: `lakehouse.transforms.events.decode` reads it, `validate_changes` judges it,
`observe_changes` turns it into what it says about its customer, `history` folds all that is known
of a customer into the states that it went through.

The history is a function of the set of changes: their order is the source's own, by its log
sequence numbers, and never that in which they arrived. Late, repeated and reordered changes, one
by one or in batches, therefore give the same history.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse.transforms.bounds import EARLIEST_EVENT_TIME
from lakehouse.transforms.events import is_timely, judge, time_rules

CREATED, UPDATED, DELETED, READ = "c", "u", "d", "r"

PERSONAL_COLUMNS = ("name", "email", "phone", "birth_date", "address")
BUSINESS_COLUMNS = ("segment", "country", "status", "risk_class")
STATE_COLUMNS = (*PERSONAL_COLUMNS, *BUSINESS_COLUMNS)

SEGMENTS = ("RETAIL", "PROFESSIONAL", "INSTITUTIONAL")
STATUSES = ("PROSPECT", "ACTIVE", "SUSPENDED", "CLOSED")
RISK_CLASSES = ("LOW", "MEDIUM", "HIGH")
# What a fill's customer was at a time at which the CRM had no such customer.
UNKNOWN = "UNKNOWN"

# What a change is told from others of its customer by, and ordered by.
_PLACE = ("source_position", "is_snapshot", "made_at")
_MONEY = "decimal(38,16)"


def customer_of_change() -> Column:
    """Return the id of the customer that a decoded change is about."""
    return F.coalesce("after.customer_id", "before.customer_id")


def change_rules() -> dict[str, Column]:
    """Return the rules on changes of customers, by the reason of a breach."""
    has_after = F.col("op").isin(CREATED, UPDATED, READ)
    made_at, after = F.timestamp_micros("source.ts_us"), F.col("after")
    return {
        "unknown_operation": ~has_after & (F.col("op") != DELETED),
        "missing_row": F.when(has_after, after.isNull()).otherwise(F.col("before").isNull()),
        "invalid_customer_id": ~customer_of_change().rlike(r"\A[A-Za-z0-9_-]{1,64}\z"),
        # Another key would be in another partition, and its changes not be found with the rest.
        "key_mismatch": ~F.coalesce(
            F.col("message_key").cast("string") == customer_of_change(), F.lit(False)
        ),
        **time_rules(),
        "change_too_old": made_at < F.lit(EARLIEST_EVENT_TIME),
        "change_in_future": ~is_timely(made_at, F.col("kafka_timestamp")),
        "unknown_segment": has_after & ~after["segment"].isin(*SEGMENTS),
        "invalid_country": has_after & ~after["country"].rlike(r"\A[A-Z]{2}\z"),
        "unknown_status": has_after & ~after["status"].isin(*STATUSES),
        "unknown_risk_class": has_after & ~after["risk_class"].isin(*RISK_CLASSES),
    }


def validate_changes(changes: DataFrame) -> DataFrame:
    """Judge decoded changes; the first rule that one breaks becomes its ``rejection``.

    Args:
        changes: Decoded events of ``crm.customers``, with ``message_key``, ``kafka_timestamp``
            and ``event_time``, the time of the capture.

    Returns:
        The same rows and columns, ``rejection`` filled where it was null and a rule is broken.
    """
    return judge(changes, change_rules())


def observe_changes(changes: DataFrame) -> DataFrame:
    """Turn the accepted among validated changes into what each says about its customer.

    Args:
        changes: The result of `validate_changes`.

    Returns:
        One row per accepted change: ``customer_id``; ``source_position``, its log sequence number;
        ``is_snapshot``; ``made_at``, the source's time; ``state``, a struct of `STATE_COLUMNS`,
        null where the customer was deleted; ``log_partition`` and ``log_position``.
    """
    state = F.struct(*(F.col(f"after.{name}").alias(name) for name in STATE_COLUMNS))
    return changes.where(F.col("rejection").isNull()).select(
        customer_of_change().alias("customer_id"),
        F.col("source.lsn").alias("source_position"),
        F.col("source.snapshot").alias("is_snapshot"),
        F.timestamp_micros("source.ts_us").alias("made_at"),
        F.when(F.col("op") != DELETED, state).alias("state"),
        "log_partition",
        "log_position",
    )


def history(observations: DataFrame) -> DataFrame:
    """Fold everything that is known of each customer into the states it went through.

    Changes count in the order of the source's log; of a snapshot's read and a change at the same
    position the read is the later, since it shows the change; of two reads the one of the later
    snapshot. A repeated change counts once, a state that equals the one before it is the same
    state. A delete ends a life, and the next change begins another: between the two there is no
    row. Time never goes back: a change whose clock says it was made before an earlier one counts
    from the earlier one's time. Of changes at one instant the last one counts, so that no state
    lasts for no time.

    Args:
        observations: The result of `observe_changes`: all of the changes of each customer.

    Returns:
        Grain: (customer_id, valid_from). ``valid_to`` is excluded, and null for the state that
        holds still (``is_current``); `STATE_COLUMNS`; ``source_position`` of the change that began
        the state; ``log_partition``; ``last_offset``, the highest log position among the changes
        that began, confirmed and ended it.
    """
    in_order = Window.partitionBy("customer_id").orderBy(*_PLACE)
    in_time = Window.partitionBy("customer_id").orderBy("valid_from")
    ends = F.lead("valid_from").over(in_time)
    starts_anew = ~F.col("state").eqNullSafe(F.lag("state").over(in_time))
    return (
        _known_once(observations)
        .withColumn("valid_from", F.max("made_at").over(in_order))
        .groupBy("customer_id", "valid_from")
        .agg(
            F.max_by("state", F.struct(*_PLACE)).alias("state"),
            F.max("source_position").alias("source_position"),
            F.max("log_partition").alias("log_partition"),
            F.max("log_position").alias("log_position"),
        )
        # Numbers the stretches of equal states; the first one begins after no state at all.
        .withColumn("starts_anew", starts_anew.cast("int"))
        .withColumn("stretch", F.sum("starts_anew").over(in_time))
        .groupBy("customer_id", "stretch")
        .agg(
            F.min("valid_from").alias("valid_from"),
            F.min_by("state", "valid_from").alias("state"),
            F.min_by("source_position", "valid_from").alias("source_position"),
            F.min_by("log_position", "valid_from").alias("began_at"),
            F.max("log_partition").alias("log_partition"),
            F.max("log_position").alias("log_position"),
        )
        .select(
            "*",
            ends.alias("valid_to"),
            F.greatest("log_position", F.lead("began_at").over(in_time)).alias("last_offset"),
        )
        .where(F.col("state").isNotNull())
        .select(
            "customer_id",
            "valid_from",
            "valid_to",
            F.col("valid_to").isNull().alias("is_current"),
            *(F.col(f"state.{name}").alias(name) for name in STATE_COLUMNS),
            "source_position",
            "log_partition",
            "last_offset",
        )
    )


def _known_once(observations: DataFrame) -> DataFrame:
    """Keep of each place in the source's log one change.

    Two different changes at one place are a defect of the source; the greater one is kept,
    whichever came first, so that the result stays a function of the set.
    """
    return observations.groupBy("customer_id", *_PLACE).agg(
        F.max("state").alias("state"),
        F.max("log_partition").alias("log_partition"),
        F.max("log_position").alias("log_position"),
    )


def customer_activity_daily(fills: DataFrame, customers: DataFrame) -> DataFrame:
    """Summarise what customers did each day, by what they were when they did it.

    A fill counts for the customer's state at its event time. One of a customer who had no state
    then (the CRM's change is still to come, or the customer was deleted) counts as UNKNOWN, so that
    sums over all rows are those of all fills.

    Args:
        fills: One row per fill that counts: ``customer_id``, ``venue``, ``symbol``, ``side`` (BUY
            or SELL), ``notional`` and ``fee`` in quote currency, ``event_time``.
        customers: The result of `history`, of all customers of the fills.

    Returns:
        Grain: (business_date, customer_id) and ``segment``, ``country``, ``status``,
        ``risk_class`` as of the fill; a day in which one of these changed has two rows.
        ``fill_count``, ``symbol_count`` (instruments), ``notional``, ``bought_notional``,
        ``sold_notional`` and ``fee`` in quote currency, ``first_fill_at``, ``last_fill_at``.
    """
    states = customers.select(
        F.col("customer_id").alias("known_id"), "valid_from", "valid_to", *BUSINESS_COLUMNS
    )
    holds = (
        (F.col("customer_id") == F.col("known_id"))
        & (F.col("event_time") >= F.col("valid_from"))
        & (F.col("valid_to").isNull() | (F.col("event_time") < F.col("valid_to")))
    )

    def notional_of(side: str) -> Column:
        return F.sum(F.when(F.col("side") == side, F.col("notional")).otherwise(0)).cast(_MONEY)

    return (
        fills.join(states, holds, "left")
        .groupBy(
            F.to_date("event_time").alias("business_date"),
            "customer_id",
            *(F.coalesce(name, F.lit(UNKNOWN)).alias(name) for name in BUSINESS_COLUMNS),
        )
        .agg(
            F.count("*").alias("fill_count"),
            F.count_distinct("venue", "symbol").alias("symbol_count"),
            F.sum("notional").cast(_MONEY).alias("notional"),
            notional_of("BUY").alias("bought_notional"),
            notional_of("SELL").alias("sold_notional"),
            F.sum("fee").cast(_MONEY).alias("fee"),
            F.min("event_time").alias("first_fill_at"),
            F.max("event_time").alias("last_fill_at"),
        )
    )

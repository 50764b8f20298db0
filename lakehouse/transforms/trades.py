"""Trades: from log records to one resolved row per trade. Pure functions, run by both layers.

The road of an event: `decode` reads it, `validate` judges it, `observe` turns it into what it says
about its trade, `resolve` folds everything said about a trade into one row.

`resolve` is a merge in the mathematical sense: commutative, associative and idempotent. A resolved
row is itself an observation, so rows may be folded again with newer events, with the other layer's
rows, or with themselves, in any order, and the result is the same. Replays and overlaps are
therefore harmless.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from lakehouse.positions import POSITIONS_PER_GENERATION

TRADE, CORRECTION, CANCEL = "TRADE", "CORRECTION", "CANCEL"
BASE, CONTRACT = "BASE", "CONTRACT"
ACTIVE, CORRECTED, CANCELLED, UNMATCHED = "ACTIVE", "CORRECTED", "CANCELLED", "UNMATCHED"

# Electronic markets' tick data does not go back further; an older time is a defect of its source.
EARLIEST_EVENT_TIME = "2000-01-01 00:00:00"
# Clocks of venues and brokers differ by seconds (the shipped sample: 1.25 s); an hour is a fault.
LATEST_AHEAD_OF_LOG = timedelta(hours=1)

# Sums of notionals have 22 digits before the point: bounded trades keep ten million of them from
# overflowing, which would stop a layer for good.
MAX_NOTIONAL = Decimal(10**15)
MAX_CONTRACT_SIZE = Decimal(10**5)

# Confluent wire format: one magic byte, a four-byte schema id, the Avro body.
_HEADER_BYTES = 5
# Of a decimal with up to 18 digits Spark takes the lowest 64 bits, whatever else is there: 2**64
# and 5 units would be read as 5 units. Of a wider one it takes all digits, and refuses too many.
_CHECKED_PRECISION = 38

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


def trade_key() -> list[Column]:
    """Return what identifies a trade: no two rows of a table of trades agree in all of it."""
    return [*map(F.col, ("venue", "symbol", "trade_id")), minute_of(F.col("event_time"))]


def minute_of(time: Column) -> Column:
    """Return the start of the UTC minute that a timestamp falls in."""
    return F.date_trunc("minute", time)


def second_of(time: Column) -> Column:
    """Return the start of the UTC second that a timestamp falls in."""
    return F.date_trunc("second", time)


def is_timely(event_time: Column, kafka_timestamp: Column) -> Column:
    """Tell whether an event time can be believed, judged by the log's time, never by a clock."""
    return (event_time >= F.to_timestamp(F.lit(EARLIEST_EVENT_TIME))) & (
        event_time <= kafka_timestamp + F.lit(LATEST_AHEAD_OF_LOG)
    )


def counts(state: Column) -> Column:
    """Tell whether a trade in this state is part of the market's totals."""
    return state.isin(ACTIVE, CORRECTED)


def decode(
    records: DataFrame,
    *,
    writer_schemas: Mapping[int, str],
    reader_schema: str,
    max_payload_bytes: int,
) -> DataFrame:
    """Read the events of log records by their writers' schemas.

    Args:
        records: One row per log record; of its columns ``payload`` is read, and
            ``topic_generation``, ``kafka_partition`` and ``kafka_offset`` give the position.
        writer_schemas: Avro schema JSON by schema id: every schema an event may be written in.
        reader_schema: Avro schema JSON that all events are resolved to.
        max_payload_bytes: Larger payloads are refused.

    Returns:
        The records' columns; the event's fields (null where it can't be read); ``log_partition``;
        ``log_position``, the encoded position of the record; and ``rejection``, the reason why it
        can't be read, or null.
    """
    payload = F.col("payload")
    size = F.octet_length(payload)
    schema_id = F.conv(F.hex(F.substring(payload, 2, 4)), 16, 10).cast("long")
    body = F.substring(payload, _HEADER_BYTES + 1, max_payload_bytes)
    # The default FAILFAST mode would stop the layer at the first poison event.
    wide_schema, decimals = _with_checked_decimals(reader_schema)
    options = {"mode": "PERMISSIVE", "avroSchema": wide_schema}
    event = F.coalesce(
        *(
            F.when(schema_id == writer_id, from_avro(body, writer_schema, options))
            for writer_id, writer_schema in writer_schemas.items()
        )
    )
    rejection = (
        F.when(payload.isNull() | (size == 0), "empty_payload")
        .when(size > max_payload_bytes, "payload_too_large")
        .when(F.substring(payload, 1, 1) != F.lit(b"\x00"), "bad_magic_byte")
        .when(size < _HEADER_BYTES, "truncated_payload")
        .when(~schema_id.isin(*writer_schemas), "unknown_schema_id")
    )
    position = F.col("topic_generation").cast("long") * POSITIONS_PER_GENERATION + F.col(
        "kafka_offset"
    )
    fitted = {name: F.col(name).try_cast(type_) for name, type_ in decimals.items()}
    overflows = [F.col(name).isNotNull() & fitted[name].isNull() for name in fitted]
    return (
        records.withColumn("rejection", rejection)
        # The event's own time replaces the copy that bronze keeps for pruning.
        .drop("event_time")
        # A generator, since the optimiser copies no expression across one: each body is read once,
        # not once for every field and rule that asks for it.
        .select("*", F.inline(F.array(F.when(F.col("rejection").isNull(), event))))
        # An unreadable body comes back as a record of nulls; an event always has a type.
        .withColumn(
            "rejection",
            F.coalesce(
                "rejection",
                F.when(reduce(or_, overflows, F.col("event_type").isNull()), "undecodable_payload"),
            ),
        )
        .withColumns(fitted)
        .withColumns({"log_partition": F.col("kafka_partition"), "log_position": position})
    )


def _with_checked_decimals(schema_json: str) -> tuple[str, dict[str, str]]:
    """Widen the decimals of an Avro schema; return it and the types they had, by field."""
    types: dict[str, str] = {}

    def widened(name: str, avro_type: Any) -> Any:
        if isinstance(avro_type, list):
            return [widened(name, branch) for branch in avro_type]
        if isinstance(avro_type, dict) and avro_type.get("logicalType") == "decimal":
            types[name] = f"decimal({avro_type['precision']},{avro_type['scale']})"
            return avro_type | {"precision": _CHECKED_PRECISION}
        return avro_type

    schema = json.loads(schema_json)
    for field in schema["fields"]:
        field["type"] = widened(field["name"], field["type"])
    return json.dumps(schema), types


def validate(events: DataFrame) -> DataFrame:
    """Judge decoded events; the first rule that one breaks becomes its ``rejection``.

    Args:
        events: The result of `decode`, with ``kafka_timestamp``.

    Returns:
        The same rows and columns, ``rejection`` filled where it was null and a rule is broken.
    """
    is_cancel = F.col("event_type") == CANCEL
    price, quantity = F.col("price"), F.col("quantity")
    rules = {
        "unknown_event_type": ~F.col("event_type").isin(TRADE, CORRECTION, CANCEL),
        "invalid_venue": ~F.col("venue").rlike(r"\A[a-z0-9_]{1,32}\z"),
        "invalid_symbol": ~F.col("symbol").rlike(r"\A[A-Z0-9._-]{1,32}\z"),
        "invalid_trade_id": F.col("trade_id") < 0,
        "event_time_too_old": F.col("event_time") < F.to_timestamp(F.lit(EARLIEST_EVENT_TIME)),
        "event_time_in_future": ~is_timely(F.col("event_time"), F.col("kafka_timestamp")),
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
    broken = reduce(
        lambda chain, rule: chain.when(rule[1], rule[0]),
        rules.items(),
        F.when(F.lit(False), F.lit(None).cast("string")),
    )
    return events.withColumn("rejection", F.coalesce("rejection", broken))


def observe(events: DataFrame) -> DataFrame:
    """Turn the accepted among validated events into what each says about its trade.

    Args:
        events: The result of `validate`.

    Returns:
        One row per accepted event, `OBSERVED_COLUMNS`.
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
    )


def resolve(observations: DataFrame) -> DataFrame:
    """Fold everything that was said about each trade into its one row.

    Of several reports of a trade the first in the log counts, the others are duplicates. The last
    correction in the log replaces price and quantity. A cancel holds for good, also one that came
    before its trade. Corrections and cancels of a trade that was not reported wait for it.

    Args:
        observations: `OBSERVED_COLUMNS`, from `observe` or of already resolved rows.

    Returns:
        Grain: (venue, symbol, trade_id) within the UTC minute of the trade. `OBSERVED_COLUMNS`
        and ``state``, ``price`` (quote currency per base unit), ``quantity`` (base units, 8
        places), ``notional`` (quote currency, 16 places). The latter three are null while a trade
        is UNMATCHED.
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

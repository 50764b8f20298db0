"""Events: from log records to typed fields and a verdict. Pure functions, run by both layers.

Every stream begins so: `decode` reads an event by its writer's schema, and the stream's own rules
judge it (`judge`). What follows is the stream's: see `lakehouse.transforms.trades`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from lakehouse.positions import POSITIONS_PER_GENERATION
from lakehouse.transforms.bounds import EARLIEST_EVENT_TIME, LATEST_AHEAD_OF_LOG, SYMBOL, VENUE

# The reason of an event that Spark was found unable to compute with: see `lakehouse.poison`.
POISON = "poison"

# Confluent wire format: one magic byte, a four-byte schema id, the Avro body.
_HEADER_BYTES = 5
# Of a decimal with up to 18 digits Spark takes the lowest 64 bits, whatever else is there: 2**64
# and 5 units would be read as 5 units. Of a wider one it takes all digits, and refuses too many.
_CHECKED_PRECISION = 38


def position_of_record() -> Column:
    """Return the encoded position of a log record, as `lakehouse.positions.LogPosition` does."""
    generation = F.col("topic_generation").cast("long")
    return generation * POSITIONS_PER_GENERATION + F.col("kafka_offset")


def minute_of(time: Column) -> Column:
    """Return the start of the UTC minute that a timestamp falls in."""
    return F.date_trunc("minute", time)


def second_of(time: Column) -> Column:
    """Return the start of the UTC second that a timestamp falls in."""
    return F.date_trunc("second", time)


def is_timely(event_time: Column, kafka_timestamp: Column) -> Column:
    """Tell whether an event time can be believed, judged by the log's time, never by a clock."""
    return (event_time >= F.lit(EARLIEST_EVENT_TIME)) & (
        event_time <= kafka_timestamp + F.lit(LATEST_AHEAD_OF_LOG)
    )


def decode(
    records: DataFrame,
    *,
    writer_schemas: Mapping[int, str],
    reader_schema: str,
    max_payload_bytes: int,
    poison: Iterable[tuple[int, int]] = (),
) -> DataFrame:
    """Read the events of log records by their writers' schemas.

    Args:
        records: One row per log record; of its columns ``payload`` is read, and
            ``topic_generation``, ``kafka_partition`` and ``kafka_offset`` give the position.
        writer_schemas: Avro schema JSON by schema id: every schema an event may be written in.
        reader_schema: Avro schema JSON that all events are resolved to.
        max_payload_bytes: Larger payloads are refused.
        poison: Log partition and encoded position of events that are refused unread.

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
    fields = json.loads(reader_schema)["fields"]
    always = next(field["name"] for field in fields if not isinstance(field["type"], list))
    event = F.coalesce(
        *(
            F.when(schema_id == writer_id, from_avro(body, writer_schema, options))
            for writer_id, writer_schema in writer_schemas.items()
        )
    )
    position = position_of_record()
    rejection = (
        F.when(_stands_at(poison, F.col("kafka_partition"), position), POISON)
        .when(payload.isNull() | (size == 0), "empty_payload")
        .when(size > max_payload_bytes, "payload_too_large")
        .when(F.substring(payload, 1, 1) != F.lit(b"\x00"), "bad_magic_byte")
        .when(size < _HEADER_BYTES, "truncated_payload")
        .when(~schema_id.isin(*writer_schemas), "unknown_schema_id")
    )
    fitted = {name: F.col(name).try_cast(type_) for name, type_ in decimals.items()}
    overflows = [F.col(name).isNotNull() & fitted[name].isNull() for name in fitted]
    return (
        records.withColumn("rejection", rejection)
        # The event's own time replaces the copy that bronze keeps for pruning.
        .drop(*(field["name"] for field in fields))
        # A generator, since the optimiser copies no expression across one: each body is read once,
        # not once for every field and rule that asks for it.
        .select("*", F.inline(F.array(F.when(F.col("rejection").isNull(), event))))
        # An unreadable body comes back as a record of nulls.
        .withColumn(
            "rejection",
            F.coalesce(
                "rejection",
                F.when(reduce(or_, overflows, F.col(always).isNull()), "undecodable_payload"),
            ),
        )
        .withColumns(fitted)
        .withColumns({"log_partition": F.col("kafka_partition"), "log_position": position})
    )


def _stands_at(places: Iterable[tuple[int, int]], partition: Column, position: Column) -> Column:
    positions: dict[int, list[int]] = defaultdict(list)
    for stands_in, stands_at in places:
        positions[stands_in].append(stands_at)
    return reduce(
        or_,
        ((partition == number) & position.isin(*found) for number, found in positions.items()),
        F.lit(False),
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


def instrument_rules() -> dict[str, Column]:
    """Return the rules of every stream that is about instruments, by the reason of a breach."""
    return {
        "invalid_venue": ~F.col("venue").rlike(rf"\A{VENUE}\z"),
        "invalid_symbol": ~F.col("symbol").rlike(rf"\A{SYMBOL}\z"),
    }


def time_rules() -> dict[str, Column]:
    """Return the rules of every stream on the time of its events, by the reason of a breach."""
    return {
        "event_time_too_old": F.col("event_time") < F.lit(EARLIEST_EVENT_TIME),
        "event_time_in_future": ~is_timely(F.col("event_time"), F.col("kafka_timestamp")),
    }


def judge(events: DataFrame, rules: Mapping[str, Column]) -> DataFrame:
    """Give each event the reason of the first rule that it breaks, if it was not refused before.

    Args:
        events: Rows with ``rejection``.
        rules: By reason, a condition that is true of an event which must be refused.
    """
    first_broken = reduce(
        lambda chain, rule: chain.when(rule[1], rule[0]),
        rules.items(),
        F.when(F.lit(False), F.lit(None).cast("string")),
    )
    return events.withColumn("rejection", F.coalesce("rejection", first_broken))

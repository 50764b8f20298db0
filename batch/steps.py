"""The steps of a batch run: each calls a transform, writes to a branch, audits what it wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from batch.audit import audit
from batch.inputs import ingested_in, rows_of_hours, within
from batch.publication import Branch
from lakehouse.catalog import CATALOG_NAME
from lakehouse.intervals import Interval, covering
from lakehouse.transforms.trades import observe, resolve, trade_key
from schemas import contract


@dataclass(frozen=True)
class TradesWritten:
    """What became of the events of a run."""

    written: int
    refused: int


def write_trades(
    spark: SparkSession,
    events: DataFrame,
    branch: Branch,
    as_of: Mapping[datetime, datetime],
    interval: Interval,
) -> TradesWritten:
    """Recompute the trades of whole business hours from all of their events.

    Args:
        spark: The session.
        events: The validated events of the hours, and those ingested in the interval.
        branch: Where to write, in place of what is there of the hours.
        as_of: By business hour, the time before which an event must have been ingested to count.
        interval: The run's interval; refusals are counted in it.
    """
    table = contract(branch.table)
    judged, computed = Observation(), Observation()
    is_refused = F.col("rejection").isNotNull() & ingested_in(interval)
    accepted = events.observe(judged, F.count_if(is_refused).alias("refused")).where(
        rows_of_hours(as_of)
    )
    trades = resolve(observe(accepted)).select(*table.column_names)
    (
        trades.observe(computed, F.count("*").alias("rows"))
        .sortWithinPartitions(*table.sort_order)
        .writeTo(branch.target)
        # The audit finds nulls where none may be; Spark can't tell them from nullable columns.
        .option("check-nullability", "false")
        # A run is mostly one hour, which is one partition: one task would write all of it. And
        # Iceberg would sort by hour first, which it computes anew for each comparison.
        .option("use-table-distribution-and-ordering", "false")
        .option("fanout-enabled", "true")
        .overwritePartitions()
    )
    rows: int = computed.get["rows"]
    written = branch.read(spark).where(within("event_time", covering(as_of)))
    audit(written, table, key=trade_key(), rows=rows)
    return TradesWritten(written=rows, refused=judged.get["refused"])


def write_bars(
    spark: SparkSession,
    bars: DataFrame,
    branch: Branch,
    *,
    where: Column,
    totals: Mapping[str, Any],
) -> int:
    """Bring bars up to date; only rows that differ are written, and none is ever removed.

    Args:
        spark: The session.
        bars: The recomputed bars.
        branch: Where to write.
        where: The rows of the table that the bars are to be.
        totals: What columns of the bars must add up to.

    Returns:
        How many bars were new or different.
    """
    table = contract(branch.table)
    # Materialised, so that what is merged does not depend on the table that it is merged into.
    bars = bars.select(*table.column_names).localCheckpoint()
    now = branch.read(spark).where(where).select(*table.column_names)
    changed = bars.subtract(now).localCheckpoint()
    rows: int = changed.count()
    if rows:
        match = " AND ".join(f"target.{column} = source.{column}" for column in table.key)
        changed.createOrReplaceTempView("changed_bars")
        spark.sql(
            f"MERGE INTO {branch.target} AS target USING changed_bars AS source ON {match}"
            " WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )
    audit(
        branch.read(spark).where(where),
        table,
        key=[*map(F.col, table.key)],
        rows=bars.count(),
        totals=totals,
    )
    return rows


def write_dead_letters(
    spark: SparkSession, events: DataFrame, topic: str, interval: Interval
) -> None:
    """Write the refused events of an interval to the dead letters, each of them once.

    Args:
        spark: The session.
        events: Validated bronze rows that were ingested in the interval.
        topic: The topic that the rows came from.
        interval: Bounds the search for those that were written before: a dead letter of this
            stage keeps the ingestion time of its record.
    """
    refused = events.where(F.col("rejection").isNotNull()).localCheckpoint()
    refused.createOrReplaceTempView("refused")
    spark.sql(
        f"""
        MERGE INTO {CATALOG_NAME}.bronze.dead_letters AS known USING refused AS new
        ON known.stage = 'batch' AND known.topic = '{topic}'
           AND known.topic_generation = new.topic_generation
           AND known.kafka_partition = new.kafka_partition
           AND known.kafka_offset = new.kafka_offset
           AND known.ingested_at >= TIMESTAMP '{interval.start.isoformat()}'
           AND known.ingested_at < TIMESTAMP '{interval.end.isoformat()}'
        WHEN NOT MATCHED THEN INSERT (topic, kafka_partition, kafka_offset, topic_generation,
            kafka_timestamp, stage, reason, message_key, headers, payload, ingested_at)
        VALUES ('{topic}', new.kafka_partition, new.kafka_offset, new.topic_generation,
            new.kafka_timestamp, 'batch', new.rejection, new.message_key, new.headers,
            new.payload, new.ingested_at)
        """
    )

"""The steps of a batch run: each calls a transform, writes to a branch, audits what it wrote."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from batch.audit import Audit
from batch.dataset import Work, Written
from batch.inputs import ingested_in, rows_of_hours, within, within_sql
from batch.publication import Branch
from lakehouse.catalog import CATALOG_NAME
from lakehouse.intervals import Interval, covering
from lakehouse.poison import Place
from lakehouse.tracing import ROWS, describe_span, table_span
from schemas import contract
from schemas.contract import TableContract


def write_hours(
    work: Work,
    branch: Branch,
    transform: Callable[[DataFrame], DataFrame],
    *,
    time: str,
) -> Written:
    """Recompute whole business hours of a table from all of their events, but no retired ones.

    Args:
        work: The run, with the hours that its events touch.
        branch: Where to write, in place of what is there of the hours.
        transform: From accepted events to the table's rows.
        time: The table's column that tells to which hour a row belongs.

    Raises:
        batch.audit.AuditError: What was written is not sound.
        batch.quality.QualityError: It breaks a rule that forbids to publish it.
    """
    table = contract(branch.table)
    as_of = {hour: end for hour, end in work.as_of.items() if work.keeps(branch.table, hour)}
    if not as_of:
        refused = work.interval_events.where(F.col("rejection").isNotNull()).count()
        return Written({branch.table: 0}, refused)
    judged, computed = Observation(), Observation()
    in_hours, in_interval = rows_of_hours(as_of), ingested_in(work.interval)
    events = work.judge(work.bronze.where(in_hours | in_interval))
    is_refused = F.col("rejection").isNotNull() & in_interval
    accepted = events.observe(judged, F.count_if(is_refused).alias("refused")).where(in_hours)
    rows = transform(accepted).select(*table.column_names)
    hours = covering(as_of)
    # Not by overwriting partitions: of a partitioning that the table once had, none would go.
    # Until the branch is published nobody sees the two steps.
    with table_span("write", branch.table):
        work.spark.sql(f"DELETE FROM {branch.target} WHERE {within_sql(time, hours)}")
        (
            rows.observe(computed, F.count("*").alias("rows"))
            .sortWithinPartitions(*table.sort_order)
            .writeTo(branch.target)
            # The audit finds nulls where none may be; Spark can't tell them from nullable columns.
            .option("check-nullability", "false")
            # A run is mostly one hour, which is one partition: one task would write all of it. And
            # Iceberg would sort by hour first, which it computes anew for each comparison.
            .option("use-table-distribution-and-ordering", "false")
            .option("fanout-enabled", "true")
            .append()
        )
        count: int = computed.get["rows"]
        describe_span({ROWS: count})
        work.inspect(branch.read(work.spark).where(within(time, hours)), Audit(table, count))
    return Written({branch.table: count}, judged.get["refused"])


def write_keyed(
    work: Work,
    rows: DataFrame,
    branch: Branch,
    *,
    where: Column,
    totals: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Bring rows up to date by key; only those that differ are written, and none is removed.

    Args:
        work: The run.
        rows: The recomputed rows.
        branch: Where to write.
        where: The rows of the table that these are to be.
        totals: What columns of the rows must add up to.

    Returns:
        How many rows were new or different.

    Raises:
        batch.audit.AuditError: What was written is not sound.
        batch.quality.QualityError: It breaks a rule that forbids to publish it.
    """
    table = contract(branch.table)
    with table_span("write", branch.table):
        # Materialised, so that what is merged does not depend on the table that it is merged into.
        rows = rows.select(*table.column_names).localCheckpoint()
        now = branch.read(work.spark).where(where).select(*table.column_names)
        changed = rows.subtract(now).localCheckpoint()
        count: int = changed.count()
        describe_span({ROWS: count})
        if count:
            match = " AND ".join(f"target.{column} = source.{column}" for column in table.key)
            changed.createOrReplaceTempView("changed_rows")
            work.spark.sql(
                f"MERGE INTO {branch.target} AS target USING changed_rows AS source ON {match}"
                f" WHEN MATCHED THEN {_update(table)} WHEN NOT MATCHED THEN {_insert(table)}"
            )
        work.inspect(branch.read(work.spark).where(where), Audit(table, rows.count(), totals))
    return count


def replace_parts(
    work: Work,
    rows: DataFrame,
    branch: Branch,
    parts: DataFrame,
    *,
    totals: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Make parts of a table be these rows: those that differ are written, those gone removed.

    Args:
        work: The run.
        rows: The recomputed rows, all of them of these parts.
        branch: Where to write.
        parts: Distinct values of some of the table's columns: the parts, few enough for memory.
        totals: What columns of the rows must add up to.

    Returns:
        How many rows were new, different or gone.

    Raises:
        batch.audit.AuditError: What was written is not sound.
        batch.quality.QualityError: It breaks a rule that forbids to publish it.
    """
    table = contract(branch.table)
    with table_span("write", branch.table):
        # Materialised, so that what is merged does not depend on the table that it is merged into.
        rows = rows.select(*table.column_names).localCheckpoint()

        def present() -> DataFrame:
            known = branch.read(work.spark).join(F.broadcast(parts), parts.columns, "left_semi")
            return known.select(*table.column_names)

        changed = rows.subtract(present()).withColumn("gone", F.lit(False))
        gone = present().join(rows, [*table.key], "left_anti").withColumn("gone", F.lit(True))
        changes = changed.unionByName(gone).localCheckpoint()
        count: int = changes.count()
        describe_span({ROWS: count})
        if count:
            match = " AND ".join(f"target.{column} = source.{column}" for column in table.key)
            changes.createOrReplaceTempView("changes")
            work.spark.sql(
                f"MERGE INTO {branch.target} AS target USING changes AS source ON {match}"
                " WHEN MATCHED AND source.gone THEN DELETE"
                f" WHEN MATCHED THEN {_update(table)} WHEN NOT MATCHED THEN {_insert(table)}"
            )
        work.inspect(present(), Audit(table, rows.count(), totals))
    return count


def _update(table: TableContract) -> str:
    """Return a merge's update, by name: a table may have columns that are younger than this run."""
    return f"UPDATE SET {', '.join(f'{name} = source.{name}' for name in table.column_names)}"


def _insert(table: TableContract) -> str:
    """Return a merge's insert, likewise."""
    values = ", ".join(f"source.{name}" for name in table.column_names)
    return f"INSERT ({', '.join(table.column_names)}) VALUES ({values})"


def write_dead_letters(
    spark: SparkSession,
    events: DataFrame,
    topic: str,
    interval: Interval,
    poison: Mapping[Place, str],
) -> None:
    """Write the refused events of an interval to the dead letters, each of them once.

    Args:
        spark: The session.
        events: Validated bronze rows that were ingested in the interval.
        topic: The topic that the rows came from.
        interval: Bounds the search for those that were written before: a dead letter of this
            stage keeps the ingestion time of its record.
        poison: What Spark said of poison events.
    """
    said = (
        F.when(
            (F.col("log_partition") == place.partition) & (F.col("log_position") == place.position),
            error,
        )
        for place, error in poison.items()
    )
    detail = F.coalesce(*said, F.lit(None).cast("string"))
    refused = (
        events.where(F.col("rejection").isNotNull()).withColumn("detail", detail).localCheckpoint()
    )
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
            kafka_timestamp, stage, reason, detail, message_key, headers, payload,
            ingested_at)
        VALUES ('{topic}', new.kafka_partition, new.kafka_offset, new.topic_generation,
            new.kafka_timestamp, 'batch', new.rejection, new.detail, new.message_key,
            new.headers, new.payload, new.ingested_at)
        """
    )

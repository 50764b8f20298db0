"""What a batch run reads: the bronze rows of its interval, and those of the hours they touch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from pyiceberg.table import Table
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from lakehouse.intervals import Interval, covering
from lakehouse.snapshots import names_then, schema_then
from lakehouse.transforms.events import is_timely, position_of_record


def landed(spark: SparkSession, table: str, before: datetime) -> DataFrame:
    """Read the rows of a bronze table that were ingested before a time that the lander has passed.

    These are the same rows whatever is landed since, so no snapshot has to be pinned for them: the
    lander expires its history within minutes, and a run may take hours.
    """
    return spark.table(f"{CATALOG_NAME}.{table}").where(F.col("ingested_at") < F.lit(before))


def pinned(spark: SparkSession, table: Table, snapshot_id: int) -> DataFrame:
    """Read one snapshot of a table, with the columns that the table has today.

    Spark gives a snapshot the columns that it was written with. A column that is younger is null.

    Args:
        spark: The session.
        table: The table, freshly loaded.
        snapshot_id: The snapshot.
    """
    identifier = f"{CATALOG_NAME}.{'.'.join(table.name())}"
    rows = spark.read.option("versionAsOf", str(snapshot_id)).table(identifier)
    if schema_then(table, snapshot_id).schema_id == table.schema().schema_id:
        return rows
    today = spark.table(identifier).schema
    return rows.select(
        *(
            (F.lit(None) if then is None else F.col(then)).cast(today[name].dataType).alias(name)
            for name, then in names_then(table, snapshot_id).items()
        )
    )


def ingested_in(interval: Interval) -> Column:
    """Tell whether a row was ingested in the interval."""
    return within("ingested_at", [interval])


def within(column: str, intervals: Iterable[Interval]) -> Column:
    """Tell whether a time is in one of some intervals; in a form that prunes files."""
    return reduce(
        or_,
        (
            (F.col(column) >= F.lit(interval.start)) & (F.col(column) < F.lit(interval.end))
            for interval in intervals
        ),
        F.lit(False),
    )


def within_sql(column: str, intervals: Iterable[Interval]) -> str:
    """Return the condition of `within` in Spark's SQL; of at least one interval."""
    return " OR ".join(
        f"({column} >= TIMESTAMP '{interval.start.isoformat()}'"
        f" AND {column} < TIMESTAMP '{interval.end.isoformat()}')"
        for interval in intervals
    )


def touched_hours(bronze: DataFrame, interval: Interval) -> tuple[datetime, ...]:
    """Return the business hours that events ingested in the interval belong to, in order."""
    timely = is_timely(F.col("event_time"), F.col("kafka_timestamp"))
    return hours_of(bronze.where(ingested_in(interval) & timely), "event_time")


def hours_of(rows: DataFrame, column: str) -> tuple[datetime, ...]:
    """Return the distinct UTC hours of a time column, in order."""
    hours = rows.select(F.date_trunc("hour", column).alias("hour")).distinct()
    # By way of Arrow, times keep their zone.
    return tuple(sorted(hours.toArrow().column("hour").to_pylist()))


def rows_of_hours(as_of: Mapping[datetime, datetime]) -> Column:
    """Tell whether a bronze row belongs to one of some hours and was ingested in time.

    Args:
        as_of: By business hour, the time before which a row must have been ingested.
    """
    hours_by_end: dict[datetime, list[datetime]] = defaultdict(list)
    for hour, end in as_of.items():
        hours_by_end[end].append(hour)
    return reduce(
        or_,
        (
            within("event_time", covering(hours)) & (F.col("ingested_at") < F.lit(end))
            for end, hours in hours_by_end.items()
        ),
        F.lit(False),
    )


def days_of(hours: Iterable[datetime]) -> list[Interval]:
    """Return the UTC days that some hours belong to, in order."""
    days = sorted({hour.replace(hour=0) for hour in hours})
    return [Interval(day, day + timedelta(days=1)) for day in days]


def on_days(days: Iterable[Interval]) -> Column:
    """Tell whether a business date is one of some days."""
    return F.col("business_date").isin([day.start.date() for day in days])


def ingested_positions(bronze: DataFrame, interval: Interval) -> dict[str, tuple[int, int]]:
    """Return, by log partition, the positions that were ingested in the interval: [first, end).

    Ingestion times never go back along a partition, so these are all positions in between. Where
    the topic was made anew within the interval, they are those of the new generation.
    """
    position = position_of_record()
    rows = (
        bronze.where(ingested_in(interval))
        .groupBy("kafka_partition", "topic_generation")
        .agg(F.min(position).alias("first"), (F.max(position) + 1).alias("end"))
        .orderBy("topic_generation", "kafka_partition")
        .collect()
    )
    return {str(row.kafka_partition): (row["first"], row["end"]) for row in rows}

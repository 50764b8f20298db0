"""Whether two versions of a table hold the same rows, partition by partition."""

from dataclasses import dataclass

from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    MonthTransform,
    YearTransform,
)
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from schemas.contract import Partitioning, TableContract

_UNITS = {
    str(HourTransform()): "hour",
    str(DayTransform()): "day",
    str(MonthTransform()): "month",
    str(YearTransform()): "year",
}


@dataclass(frozen=True)
class PartitionDifference:
    """A partition whose rows are not the same: how many the old and the new version have."""

    partition: str
    old_rows: int
    new_rows: int


@dataclass(frozen=True)
class TableComparison:
    """What comparing two versions of a table found.

    Attributes:
        partitions: How many either version has.
        rows: How many rows the new version has.
        differences: The partitions that differ, in order.
    """

    table: str
    partitions: int
    rows: int
    differences: tuple[PartitionDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows."""
        return not self.differences


def compare_versions(old: DataFrame, new: DataFrame, table: TableContract) -> TableComparison:
    """Compare the rows of two versions of a table by a checksum of each partition.

    A checksum adds up the hashes of all rows, so their order does not count, but how often each is
    there does.

    Args:
        old: Rows with the contract's columns.
        new: Likewise.
        table: The contract, whose partitioning both are grouped by, however they are stored.
    """
    sides = [
        checksums(rows, table).select("partition", F.struct("rows", "checksum").alias(side))
        for side, rows in (("old", old), ("new", new))
    ]
    found = sides[0].join(sides[1], "partition", "full_outer").orderBy("partition").collect()
    return TableComparison(
        table.name,
        partitions=len(found),
        rows=sum(row.new["rows"] for row in found if row.new),
        differences=tuple(
            PartitionDifference(
                row.partition,
                row.old["rows"] if row.old else 0,
                row.new["rows"] if row.new else 0,
            )
            for row in found
            if row.old != row.new
        ),
    )


def checksums(rows: DataFrame, table: TableContract) -> DataFrame:
    """Return ``partition``, ``rows`` and ``checksum`` for each partition of a table's rows."""
    partition = [_value(part).cast("string") for part in table.partitioning]
    # A null leaves a hash as it was: alone, a value could move from one column to the next.
    is_null = (F.col(column.name).isNull() for column in table.columns if not column.required)
    hashed = F.xxhash64(*table.column_names, *is_null).cast("decimal(20,0)")
    return rows.groupBy(F.concat_ws("/", *partition).alias("partition")).agg(
        F.count("*").alias("rows"), F.sum(hashed).alias("checksum")
    )


def _value(part: Partitioning) -> Column:
    """Return what a partition is known by: the beginning of its time, its bucket, its value."""
    column, unit = F.col(part.column), _UNITS.get(str(part.transform))
    if isinstance(part.transform, BucketTransform):
        buckets = part.transform.num_buckets
        return F.expr(f"{CATALOG_NAME}.system.bucket({buckets}, {part.column})")
    return F.date_trunc(unit, column) if unit else column

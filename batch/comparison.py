"""Where the two layers stand to each other, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

# Enough to see the pattern of a defect; the tables hold the rest.
DRIFT_SAMPLE_ROWS = 20


@dataclass(frozen=True)
class Comparison:
    """Counts of keys by how the layers stand to each other.

    Attributes:
        compared: In both at the same position: they must be the same to the last digit.
        drifted: Of these, the ones that are not.
        batch_ahead: In both, batch has seen more.
        speed_ahead: In both, speed has seen more.
        only_in_batch: In batch alone, within the hours that speed still holds rows of.
        only_in_speed: In speed alone.
        missing_in_batch: Of the last two of speed, those that batch should have seen by now.
        oldest_unreconciled_at: Earliest event time of a key that speed is ahead on.
        sample: Some of the defects: key, position, and the values on both sides.
    """

    compared: int
    drifted: int
    batch_ahead: int
    speed_ahead: int
    only_in_batch: int
    only_in_speed: int
    missing_in_batch: int
    oldest_unreconciled_at: datetime | None
    sample: tuple[dict[str, Any], ...] = field(default=())

    @property
    def agrees(self) -> bool:
        """Tell whether no defect was found."""
        return not (self.drifted or self.missing_in_batch)


def newest_versions(rows: DataFrame, key: Sequence[Column]) -> DataFrame:
    """Keep of a log of row versions the one of each key that has seen the most."""
    newest_first = Window.partitionBy(*key).orderBy(F.col("last_offset").desc())
    return (
        rows.withColumn("version", F.row_number().over(newest_first))
        .where("version = 1")
        .drop("version")
    )


def compare(
    batch: DataFrame,
    speed: DataFrame,
    *,
    key: Mapping[str, Column],
    time: str,
    covered: Mapping[int, int],
) -> Comparison:
    """Compare the batch rows of some hours with the speed rows of the same hours.

    Args:
        batch: Rows of the batch table.
        speed: The newest version of each row of its speed twin, with the same columns.
        key: What identifies a row, by name.
        time: The column that tells when a row happened.
        covered: By log partition, the position below which batch must have seen every event.
    """
    columns = batch.columns
    sides = {
        side: frame.select(
            *(column.alias(f"key_{name}") for name, column in key.items()),
            F.struct(*columns).alias(side),
        )
        for side, frame in (("batch", batch), ("speed", speed))
    }
    joined = sides["batch"].join(sides["speed"], [f"key_{name}" for name in key], "full_outer")
    in_both = F.col("batch").isNotNull() & F.col("speed").isNotNull()
    ours, theirs = F.col("speed.last_offset"), F.col("batch.last_offset")
    provisional = F.col("batch").isNull() | (in_both & (ours > theirs))
    overdue = provisional & reduce(
        or_,
        (
            (F.col("speed.log_partition") == partition) & (ours < position)
            for partition, position in covered.items()
        ),
        F.lit(False),
    )
    same_position = in_both & (ours == theirs)
    differs = same_position & ~F.col("batch").eqNullSafe(F.col("speed"))
    judged = joined.select(
        "*",
        same_position.alias("compared"),
        differs.alias("drifted"),
        (in_both & (ours < theirs)).alias("batch_ahead"),
        (in_both & (ours > theirs)).alias("speed_ahead"),
        F.col("speed").isNull().alias("only_in_batch"),
        F.col("batch").isNull().alias("only_in_speed"),
        overdue.alias("missing_in_batch"),
        F.when(provisional, F.col(f"speed.{time}")).alias("unreconciled_at"),
    ).cache()
    flags = [name for name, kind in judged.dtypes if kind == "boolean"]
    try:
        totals = judged.agg(
            *(F.count_if(name).alias(name) for name in flags),
            F.min("unreconciled_at").alias("oldest_unreconciled_at"),
        )
        counts = totals.toArrow().to_pylist()[0]
        defects = judged.where("drifted OR missing_in_batch").limit(DRIFT_SAMPLE_ROWS)
        found = counts["drifted"] or counts["missing_in_batch"]
        sample = tuple(
            defect.asDict(recursive=True)
            for defect in (defects.select("batch", "speed").collect() if found else ())
        )
    finally:
        judged.unpersist()
    return Comparison(**counts, sample=sample)

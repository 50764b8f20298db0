"""The hourly reconciliation: compare the layers, keep the record, prune what batch has taken over.

A reconciliation prunes what an *earlier* one had found covered, never what has just been published:
a reader that pinned the batch table before the publication must still find the speed row.

Of time that the batch table has retired it will cover nothing any more. Such rows are not compared,
and are pruned at once: they do not move to batch, they go, as batch's own have gone. A reader that
pinned the batch table before that finds what batch had of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from batch.comparison import Comparison, compare, newest_versions
from batch.conflicts import CommitConflictError, conflicts
from batch.dataset import Dataset, bronze_table
from batch.inputs import pinned
from batch.lineage import told
from batch.pairs import Pair
from batch.retirement import retired_before
from batch.runs import Run, RunLog
from lakehouse.audit_trail import append_rows
from lakehouse.catalog import CATALOG_NAME
from lakehouse.coverage import batch_coverage
from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval
from lakehouse.poison import has_seen, poison_events, rid_of_poison
from lakehouse.positions import LogPosition
from lakehouse.progress import read_progress
from lakehouse.resilience import retrying
from lakehouse.tracing import ROWS, RUN, VERDICT, describe_span, run_span, table_span
from schemas import contract

RECONCILIATIONS = "ops.reconciliations"
# Names the state of a batch table that the last reconciliation compared.
TAG = "reconciled"
# Maintenance compacts the speed tables meanwhile: a few files, which takes seconds.
COMPACTION_BUDGET_SECONDS = 300.0

_log = structlog.get_logger(__name__)


class NotPublishedError(LakehouseError):
    """Batch has not published the interval yet, so there is nothing to compare."""


@dataclass(frozen=True)
class Record:
    """What a reconciliation found and did for one table."""

    table: str
    comparison: Comparison
    pruned: int
    batch_snapshot_id: int | None
    speed_snapshot_id: int | None

    @property
    def verdict(self) -> str:
        """AGREE, or DRIFT if the layers contradict each other."""
        return "AGREE" if self.comparison.agrees else "DRIFT"


@dataclass(frozen=True)
class Reconciliation:
    """Reconciles the layers of one dataset."""

    spark: SparkSession
    catalog: Catalog

    dataset: Dataset

    def run(self, interval: Interval) -> list[Record]:
        """Reconcile the dataset's tables after batch has published an interval.

        All rows that the speed layer still holds are compared, since an interval's events may
        touch any of them. On drift nothing is pruned: the rows are the evidence.

        Raises:
            NotPublishedError: A part of the interval has no published batch run.
        """
        name = self.dataset.name
        if gaps := RunLog(self.catalog).unpublished("batch", name, interval):
            raise NotPublishedError(
                f"batch has not published {name} of {', '.join(map(str, gaps))}: run it before "
                "reconciling"
            )
        run = Run("reconcile", name, interval, ())
        compared = [table for pair in self.dataset.pairs for table in (pair.batch, pair.speed)]
        with (
            run_span(run.kind, name, interval),
            told(self.catalog, run, (RECONCILIATIONS,), reads=compared),
        ):
            return self._run(run)

    def _run(self, run: Run) -> list[Record]:
        describe_span({RUN: run.run_id})
        progress = read_progress(self.catalog.load_table(bronze_table(self.dataset)))
        origin = LogPosition(progress.generation if progress else 0, 0).encode()
        covered = batch_coverage(self.catalog, run.dataset, self.dataset.topic, origin)
        records = []
        for pair in self.dataset.pairs:
            with table_span("reconcile", pair.batch):
                record = self._reconcile(pair, covered)
                describe_span({ROWS: record.comparison.compared, VERDICT: record.verdict})
                records.append(record)
        for record in records:
            append_rows(self.catalog, RECONCILIATIONS, [_row(run, record, covered)])
            _log.info("reconciled", table=record.table, verdict=record.verdict)
        return records

    def _reconcile(self, pair: Pair, covered: Mapping[int, int]) -> Record:
        # Asked before its rows are read, and after batch's what batch leaves out: what the speed
        # layer has yet to take back is no row to compare with.
        rid_of = rid_of_poison(self.catalog, self.dataset.topic)
        # Rows move from speed to batch: whoever reads both reads speed first.
        speed_snapshot, speed = self._pinned(pair.speed)
        batch_snapshot, batch = self._pinned(pair.batch)
        poison = poison_events(self.catalog, self.dataset.topic).keys() - rid_of
        # Read after: where a snapshot lacks retired rows, the mark is there.
        kept = pair.is_kept(retired_before(self.catalog.load_table(pair.batch)))
        sound = kept & ~F.expr(has_seen(poison))
        speed = newest_versions(speed.where(sound), list(pair.key_columns().values()))
        meant = kept & pair.rows_like(speed)
        comparison = compare(
            batch.where(meant), speed, key=pair.key_columns(), time=pair.time, covered=covered
        )
        pruned = self._prune(pair, meant=meant, kept=kept) if comparison.agrees else 0
        if comparison.agrees and batch_snapshot is not None:
            self.spark.sql(
                f"ALTER TABLE {CATALOG_NAME}.{pair.batch} CREATE OR REPLACE TAG {TAG} "
                f"AS OF VERSION {batch_snapshot}"
            )
        return Record(pair.batch, comparison, pruned, batch_snapshot, speed_snapshot)

    def _pinned(self, table: str) -> tuple[int | None, DataFrame]:
        loaded, columns = self.catalog.load_table(table), contract(table).column_names
        snapshot = loaded.current_snapshot()
        if snapshot is None:
            return None, self.spark.table(f"{CATALOG_NAME}.{table}").select(*columns)
        rows = pinned(self.spark, loaded, snapshot.snapshot_id)
        return snapshot.snapshot_id, rows.select(*columns)

    def _prune(self, pair: Pair, *, meant: Column, kept: Column) -> int:
        """Delete the speed rows that the previous reconciliation's batch table had covered.

        And those of retired time.

        Args:
            pair: The tables.
            meant: Rows that are like those that were compared.
            kept: Rows of the time that the batch table has not retired.
        """
        batch = self.catalog.load_table(pair.batch)
        held = self.spark.table(f"{CATALOG_NAME}.{pair.speed}")
        versions = [*(part.alias(name) for name, part in pair.key_columns().items()), "last_offset"]
        doomed = held.where(~kept).select(*versions)
        if TAG in batch.refs():
            seen = pinned(self.spark, batch, batch.refs()[TAG].snapshot_id).where(meant)
            seen = seen.select(*versions).withColumnRenamed("last_offset", "seen_offset")
            covered = held.where(meant).select(*versions).join(seen, [*pair.key_columns()])
            covered = covered.where("seen_offset >= last_offset").drop("seen_offset")
            doomed = doomed.union(covered)
        doomed = doomed.distinct().localCheckpoint()
        pruned: int = doomed.count()
        if pruned:
            self._delete_versions(pair, doomed)
        return pruned

    @retrying(on=CommitConflictError, budget_seconds=COMPACTION_BUDGET_SECONDS)
    def _delete_versions(self, pair: Pair, doomed: DataFrame) -> None:
        """Delete row versions of a speed table; again, if maintenance has moved them meanwhile."""
        doomed.createOrReplaceTempView("doomed")
        match = " AND ".join(f"doomed.{name} = held.{name}" for name in pair.key)
        if pair.windowed:
            match += f" AND doomed.minute = date_trunc('minute', held.{pair.time})"
        with conflicts(f"prune {pair.speed}"):
            self.spark.sql(
                f"MERGE INTO {CATALOG_NAME}.{pair.speed} AS held USING doomed ON {match}"
                " AND doomed.last_offset = held.last_offset WHEN MATCHED THEN DELETE"
            )


def _row(run: Run, record: Record, covered: Mapping[int, int]) -> dict[str, object]:
    found = record.comparison
    oldest = found.oldest_unreconciled_at
    return {
        "run_id": run.run_id,
        "interval_start": run.interval.start,
        "interval_end": run.interval.end,
        "table_name": record.table,
        "rows_compared": found.compared,
        "rows_drifted": found.drifted,
        "missing_in_batch": found.missing_in_batch,
        "batch_ahead": found.batch_ahead,
        "speed_ahead": found.speed_ahead,
        "only_in_batch": found.only_in_batch,
        "only_in_speed": found.only_in_speed,
        "pruned": record.pruned,
        "oldest_unreconciled_at": oldest,
        # Measured against the interval, not a clock: the same run gives the same age.
        "oldest_unreconciled_age_seconds": (
            (run.interval.end - oldest).total_seconds() if oldest else None
        ),
        "batch_snapshot_id": record.batch_snapshot_id,
        "speed_snapshot_id": record.speed_snapshot_id,
        "offsets": json.dumps({str(partition): end for partition, end in sorted(covered.items())}),
        "drift_sample": json.dumps(found.sample, default=str) if found.sample else None,
        "verdict": record.verdict,
        "recorded_at": datetime.now(UTC),
    }

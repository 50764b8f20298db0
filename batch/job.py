"""The batch run: one interval of ingestion time, from bronze to silver to gold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession

from batch.dataset import Dataset, Work, Written, bronze_table
from batch.inputs import ingested_positions, pinned_bronze, touched_hours
from batch.publication import PublishConflictError, branches
from batch.quality import QUALITY_CHECKS, QualityError, check
from batch.runs import Run, RunLog, Status
from batch.steps import write_dead_letters
from lakehouse.audit_trail import append_rows
from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval
from lakehouse.progress import read_progress
from lakehouse.resilience import retrying
from lakehouse.settings import Settings
from lakehouse.transforms.events import decode
from schemas.registry import schema_registry
from schemas.topic_schemas import topic_schemas

KIND = "batch"
# No event was ingested earlier.
BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)
# Runs of other intervals publish in between; each attempt sees what they published.
CONFLICT_BUDGET_SECONDS = 600.0

_log = structlog.get_logger(__name__)


class NotLandedError(LakehouseError):
    """The interval is not over yet as far as bronze is concerned."""


@dataclass(frozen=True)
class Report:
    """What a run of a dataset did.

    Attributes:
        rows: By table, how many rows were new or different.
    """

    run_id: str
    dataset: str
    interval: Interval
    business_hours: tuple[datetime, ...]
    snapshot_id: int
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchJob:
    """Runs intervals of one dataset on one lake."""

    spark: SparkSession
    catalog: Catalog
    settings: Settings
    dataset: Dataset

    def run(self, interval: Interval, *, cause: str | None = None) -> Report:
        """Process the events that were ingested in the interval.

        What they touch is recomputed from all of its events that were ingested before the
        interval's end, or before the end of a later run of the same. Running it again, in any
        order and with any overlap, ends in the same tables.

        Args:
            interval: Ingestion times.
            cause: What the run is part of, for the run log.

        Raises:
            NotLandedError: The lander has not passed the interval's end.
            batch.audit.AuditError: The result is not sound; nothing was published.
            batch.quality.QualityError: It breaks a rule; nothing was published.
        """
        snapshot_id, bronze = self._pinned(interval.end)
        hours = touched_hours(bronze, interval)
        # Now, while the pin is young: the lander keeps bronze's history for minutes only.
        offsets = ingested_positions(bronze, interval)
        run = Run(KIND, self.dataset.name, interval, hours, cause=cause)
        runs = RunLog(self.catalog)
        # Recorded before anything is written: whoever runs an older interval after this must know.
        runs.record(run, Status.STARTED, snapshots={self._source: snapshot_id})

        @retrying(on=PublishConflictError, budget_seconds=CONFLICT_BUDGET_SECONDS)
        def attempt() -> Report:
            return self._publish(run, runs)

        try:
            report = attempt()
        except Exception as error:
            runs.record(run, Status.FAILED, detail=f"{type(error).__name__}: {error}"[:2000])
            raise
        runs.record(
            run,
            Status.PUBLISHED,
            snapshots={self._source: report.snapshot_id},
            offsets=offsets,
            rows_written=sum(report.rows.values()),
        )
        _log.info("published", interval=str(interval), dataset=run.dataset, **report.rows)
        return report

    @property
    def _source(self) -> str:
        return bronze_table(self.dataset)

    def _pinned(self, through: datetime) -> tuple[int, DataFrame]:
        """Return bronze as it is now, and which snapshot that is."""
        table = self.catalog.load_table(self._source)
        snapshot, progress = table.current_snapshot(), read_progress(table)
        if snapshot is None or progress is None:
            raise NotLandedError(f"{self._source} is empty: land events first (`lakehouse land`)")
        if progress.ingested_through < through:
            raise NotLandedError(
                f"{self._source} is landed through {progress.ingested_through.isoformat()}, the "
                f"interval ends at {through.isoformat()}: start the lander or wait for it"
            )
        bronze = pinned_bronze(self.spark, self._source, snapshot.snapshot_id)
        return snapshot.snapshot_id, bronze

    def _publish(self, run: Run, runs: RunLog) -> Report:
        tables, hours, end = self.dataset.tables, run.business_hours, run.interval.end
        with branches(self.spark, tables, f"run_{run.run_id}") as made:
            # The branches are made before the run log is read: a run that publishes later than
            # that makes publishing fail, one that published earlier is in the log. And bronze is
            # pinned after that: all that such a run has seen is in it.
            later = runs.latest_ends(run)
            newest_end = max([end, *later.values()])
            snapshot_id, bronze = self._pinned(newest_end)
            work = Work(
                spark=self.spark,
                interval=run.interval,
                bronze=bronze,
                as_of={hour: later.get(hour, end) for hour in hours},
                newest_end=newest_end,
                unpublished=lambda: runs.unpublished(KIND, run.dataset, Interval(BEFORE_ALL, end)),
                branches=dict(zip(tables, made, strict=True)),
                judge=self._judge,
                inspect=partial(inspect, self.spark, self.catalog, run),
            )
            written = self.dataset.write(work) if hours else Written()
            if written.refused or not hours:  # nothing to recompute, perhaps something to refuse
                write_dead_letters(
                    self.spark, work.interval_events, self.dataset.topic, run.interval
                )
            if hours:
                for branch in made:
                    branch.publish(self.spark)
        return Report(run.run_id, run.dataset, run.interval, hours, snapshot_id, written.rows)

    def _judge(self, records: DataFrame) -> DataFrame:
        """Decode and judge bronze rows."""
        schemas = topic_schemas(schema_registry(self.settings), self.dataset.topic)
        return self.dataset.validate(
            decode(
                records,
                writer_schemas=schemas.writers,
                reader_schema=schemas.reader,
                max_payload_bytes=self.settings.max_payload_bytes,
            )
        )


def inspect(spark: SparkSession, catalog: Catalog, run: Run, table: str, rows: DataFrame) -> None:
    """Ask the contract's rules of what a run has written; keep what they find.

    Raises:
        QualityError: A rule forbids to publish it.
    """
    findings = check(spark, table, rows, run.interval)
    if findings:
        found = [finding.row(run.run_id, run.interval) for finding in findings]
        append_rows(catalog, QUALITY_CHECKS, found)
    if any(finding.forbids for finding in findings):
        raise QualityError(findings)

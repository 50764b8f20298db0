"""The batch run: one interval of ingestion time, from bronze to silver to gold."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession

from batch.audit import Audit, AuditError
from batch.dataset import Dataset, Work, Written, bronze_table
from batch.inputs import ingested_in, ingested_positions, landed, touched_hours
from batch.landing import landed_snapshot
from batch.lineage import told
from batch.poison import naming_poison
from batch.publication import Branch, Conflicts, PublishConflictError, branches
from batch.quality import QUALITY_CHECKS, QualityError, check
from batch.retirement import marks
from batch.runs import Run, RunLog, Status
from batch.steps import write_dead_letters
from lakehouse.audit_trail import append_rows
from lakehouse.coverage import DEAD_LETTERS
from lakehouse.intervals import Interval
from lakehouse.poison import Place, poison_events
from lakehouse.resilience import retrying
from lakehouse.settings import Settings
from lakehouse.tracing import RUN, describe_span, run_span, table_span
from lakehouse.transforms.events import decode
from schemas.registry import schema_registry
from schemas.topic_schemas import topic_schemas

KIND = "batch"
# No event was ingested earlier.
BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)
# Runs of other intervals publish in between; each attempt sees what they published.
CONFLICT_BUDGET_SECONDS = 600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Report:
    """What a run of a dataset did.

    Attributes:
        rows: By table, how many rows were new or different.
        refused: How many events of the interval were refused.
        conflicts: How often another run published first, so that this one began again.
    """

    run_id: str
    dataset: str
    interval: Interval
    business_hours: tuple[datetime, ...]
    snapshot_id: int
    rows: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0
    conflicts: int = 0


@dataclass(frozen=True)
class BatchJob:
    """Runs intervals of one dataset on one lake."""

    spark: SparkSession
    catalog: Catalog
    settings: Settings
    dataset: Dataset

    kind: ClassVar[str] = KIND

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
            AuditError: The result is not sound; nothing but the refused events was published.
            QualityError: It breaks a rule; likewise.
            batch.poison.PoisonedIntervalError: Spark cannot compute it; nothing was published.
        """
        with run_span(KIND, self.dataset.name, interval):
            return self._run(interval, cause)

    def _run(self, interval: Interval, cause: str | None) -> Report:
        with table_span("read", self.source):
            snapshot_id = self.landed_through(interval.end)
            hours = touched_hours(self.bronze(interval.end), interval)
        run = Run(KIND, self.dataset.name, interval, hours, cause=cause)
        describe_span({RUN: run.run_id})
        runs = RunLog(self.catalog)
        # Recorded before anything is written: whoever runs an older interval after this must know.
        runs.record(run, Status.STARTED, snapshots={self.source: snapshot_id})
        conflicts = Conflicts()

        @retrying(on=PublishConflictError, budget_seconds=CONFLICT_BUDGET_SECONDS)
        def attempt() -> Report:
            with conflicts.counted():
                return self._publish(run, runs)

        try:
            with told(self.catalog, run, self.dataset.tables) as rows:
                report = replace(attempt(), conflicts=conflicts.count)
                rows.update(report.rows)
        except Exception as error:
            runs.record(run, Status.FAILED, detail=f"{type(error).__name__}: {error}"[:2000])
            if isinstance(error, AuditError | QualityError):
                self.write_refused(interval)  # they are, whatever becomes of the others
            raise
        runs.record(
            run,
            Status.PUBLISHED,
            snapshots={self.source: report.snapshot_id},
            offsets=self.positions(interval),
            rows_written=sum(report.rows.values()),
            conflicts=conflicts.count,
        )
        _log.info("published", interval=str(interval), dataset=run.dataset, **report.rows)
        return report

    @property
    def source(self) -> str:
        """The bronze table that the dataset is made of."""
        return bronze_table(self.dataset)

    def bronze(self, before: datetime) -> DataFrame:
        """Read the events that were ingested before a time that the lander has passed."""
        return landed(self.spark, self.source, before)

    def landed_through(self, end: datetime) -> int:
        """Make sure that all events ingested before a time are landed; return bronze's snapshot.

        Raises:
            NotLandedError: They are not.
        """
        return landed_snapshot(self.catalog, self.source, end).snapshot_id

    def write(
        self,
        run: Run,
        made: Mapping[str, Branch],
        *,
        later: Mapping[datetime, datetime],
        unpublished: Callable[[], Sequence[Interval]],
    ) -> Report:
        """Write what follows from a run's events to branches of the dataset's tables.

        Args:
            run: The run, with the business hours that its events touch.
            made: The branches, by table.
            later: By business hour, the end of a later run that the branches have seen.
            unpublished: As in `Work`.

        Raises:
            NotLandedError: The lander has not passed the end of one of these runs.
            batch.audit.AuditError: The result is not sound.
            batch.quality.QualityError: It breaks a rule.
            batch.poison.PoisonedIntervalError: Spark cannot compute it.
        """
        hours, end = run.business_hours, run.interval.end
        newest_end = max([end, *later.values()])
        snapshot_id = self.landed_through(newest_end)
        work = Work(
            spark=self.spark,
            interval=run.interval,
            read_bronze=partial(self.bronze, newest_end),
            as_of={hour: later.get(hour, end) for hour in hours},
            newest_end=newest_end,
            unpublished=unpublished,
            branches=made,
            judge=partial(self._judge, poison_events(self.catalog, self.dataset.topic)),
            inspect=partial(inspect, self.catalog, run),
            # Read after the branches were made: of rows that a branch lacks, it finds the mark.
            retired=marks(self.catalog, made),
        )
        with naming_poison(run.dataset, run.interval):
            written = self.dataset.write(work) if hours else Written()
        return Report(
            run.run_id,
            run.dataset,
            run.interval,
            hours,
            snapshot_id,
            written.rows,
            written.refused,
        )

    def write_seen(self, run: Run, made: Mapping[str, Branch], before: datetime) -> Report:
        """Write to branches what follows from the events of a run's interval, for a rebuild.

        What they touch is computed from all events that were ingested before a time, wherever in
        it the interval is.

        Raises:
            NotLandedError: The lander has not passed that time.
            batch.audit.AuditError: The result is not sound.
            batch.quality.QualityError: It breaks a rule.
        """
        hours = touched_hours(self.bronze(before), run.interval)
        run = replace(run, business_hours=hours)
        return self.write(run, made, later=dict.fromkeys(hours, before), unpublished=list)

    def positions(self, interval: Interval) -> Mapping[str, tuple[int, int]]:
        """Return, by log partition, the positions ingested in the interval: [first, end)."""
        return ingested_positions(self.bronze(interval.end), interval)

    def write_refused(self, interval: Interval) -> None:
        """Write the refused events of an interval to the dead letters, each of them once."""
        poison = poison_events(self.catalog, self.dataset.topic)
        events = self._judge(poison, self.bronze(interval.end).where(ingested_in(interval)))
        with table_span("write", DEAD_LETTERS):
            write_dead_letters(self.spark, events, self.dataset.topic, interval, poison)

    def _publish(self, run: Run, runs: RunLog) -> Report:
        before = Interval(BEFORE_ALL, run.interval.end)
        with branches(self.spark, self.dataset.tables, f"run_{run.run_id}") as made:
            # The branches are made before the run log is read: a run that publishes later than
            # that makes publishing fail, one that published earlier is in the log.
            report = self.write(
                run,
                {branch.table: branch for branch in made},
                later=runs.latest_ends(run),
                unpublished=lambda: runs.unpublished(KIND, run.dataset, before),
            )
            if report.refused or not run.business_hours:  # nothing to recompute, but to refuse
                self.write_refused(run.interval)
            _log.info("audited", interval=str(run.interval), dataset=run.dataset)
            if run.business_hours:
                for branch in made:
                    branch.publish(self.spark)
        return report

    def _judge(self, poison: Iterable[Place], records: DataFrame) -> DataFrame:
        """Decode and judge bronze rows."""
        schemas = topic_schemas(schema_registry(self.settings), self.dataset.topic)
        return self.dataset.validate(
            decode(
                records,
                writer_schemas=schemas.writers,
                reader_schema=schemas.reader,
                max_payload_bytes=self.settings.max_payload_bytes,
                poison=poison,
            )
        )


def inspect(catalog: Catalog, run: Run, rows: DataFrame, audit: Audit) -> None:
    """Audit what a run has written, and ask the contract's rules of it; keep what they find.

    Raises:
        AuditError: It is not sound.
        QualityError: A rule forbids to publish it.
    """
    # Whoever watches the run knows by this line how far it is.
    _log.info("written", table=audit.contract.name, rows=audit.rows)
    with table_span("audit", audit.contract.name):
        findings, answers = check(audit.contract, rows, run.interval, beside=audit.asked)
        if findings:
            found = [finding.row(run.run_id, run.interval) for finding in findings]
            append_rows(catalog, QUALITY_CHECKS, found)
        audit.judge(answers)
        if any(finding.forbids for finding in findings):
            raise QualityError(findings)

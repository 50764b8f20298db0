"""The batch run: one interval of ingestion time, from bronze to silver to gold."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import Column, DataFrame, SparkSession

from batch.audit import AuditError
from batch.dataset import Dataset, Work, Written, bronze_table
from batch.inputs import ingested_in, ingested_positions, landed, touched_hours, within
from batch.inspection import ask, inspect
from batch.landing import landed_snapshot
from batch.lineage import told
from batch.poison import PoisonedIntervalError, isolate_among, naming_poison
from batch.publication import Branch, Conflicts, PublishConflictError, branches
from batch.quality import QualityError
from batch.retirement import marks
from batch.runs import Run, RunLog, Status
from batch.steps import write_dead_letters
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
            batch.poison.PoisonedIntervalError: Spark cannot compute it without any event that has
                yet to be published either; nothing was published.
            lakehouse.isolation.PoisonedStreamError: Nor without so many events that the fault
                cannot be theirs; likewise.
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
                return self._publish_but_poison(run, runs)

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
        work = self._work(run, made, later=dict.fromkeys(hours, before), unpublished=list)
        return self._write(run, work)

    def positions(self, interval: Interval) -> Mapping[str, tuple[int, int]]:
        """Return, by log partition, the positions ingested in the interval: [first, end)."""
        return ingested_positions(self.bronze(interval.end), interval)

    def write_refused(self, interval: Interval) -> None:
        """Write the refused events of an interval to the dead letters, each of them once."""
        poison = poison_events(self.catalog, self.dataset.topic)
        events = self._judge(poison, self.bronze(interval.end).where(ingested_in(interval)))
        with table_span("write", DEAD_LETTERS):
            write_dead_letters(self.spark, events, self.dataset.topic, interval, poison)

    def _publish_but_poison(self, run: Run, runs: RunLog) -> Report:
        try:
            return self._publish(run, runs)
        except PoisonedIntervalError:
            self._isolate(run, runs)
        return self._publish(run, runs)

    def _publish(self, run: Run, runs: RunLog) -> Report:
        with self._working(run, runs) as work:
            report = self._write(run, work)
            if report.refused or not run.business_hours:  # nothing to recompute, but to refuse
                self.write_refused(run.interval)
            _log.info("audited", interval=str(run.interval), dataset=run.dataset)
            if run.business_hours:
                for branch in work.branches.values():
                    branch.publish(self.spark)
        return report

    def _isolate(self, run: Run, runs: RunLog) -> None:
        """Note the events that keep a run from being computed, of those not yet published."""
        due = within("ingested_at", self._unpublished(run, runs))

        def compute(taken: Column) -> None:
            with self._working(run, runs) as work:
                trial = replace(
                    work,
                    judge=lambda records: work.judge(records.where(taken | ~due)),
                    inspect=partial(ask, run),
                )
                self.dataset.write(trial)

        with naming_poison(self.dataset, run.interval):
            records = self.bronze(run.interval.end).where(due)
            isolate_among(self.catalog, self.dataset.topic, records, compute)

    def _write(self, run: Run, work: Work) -> Report:
        """Write what follows from a run's events to the branches of its work.

        Raises:
            NotLandedError: The lander has not passed the end of a run that the branches have seen.
            batch.audit.AuditError: The result is not sound.
            batch.quality.QualityError: It breaks a rule.
            batch.poison.PoisonedIntervalError: Spark cannot compute it.
        """
        snapshot_id = self.landed_through(work.newest_end)
        with naming_poison(self.dataset, run.interval):
            written = self.dataset.write(work) if run.business_hours else Written()
        return Report(
            run.run_id,
            run.dataset,
            run.interval,
            run.business_hours,
            snapshot_id,
            written.rows,
            written.refused,
        )

    @contextmanager
    def _working(self, run: Run, runs: RunLog) -> Iterator[Work]:
        """Give a run its branches, and what it works on; the branches are dropped at the end."""
        with branches(self.spark, self.dataset.tables, f"run_{run.run_id}") as made:
            # The branches are made before the run log is read: a run that publishes later than
            # that makes publishing fail, one that published earlier is in the log.
            yield self._work(
                run,
                {branch.table: branch for branch in made},
                later=runs.latest_ends(run),
                unpublished=partial(self._unpublished, run, runs),
            )

    def _work(
        self,
        run: Run,
        made: Mapping[str, Branch],
        *,
        later: Mapping[datetime, datetime],
        unpublished: Callable[[], Sequence[Interval]],
    ) -> Work:
        hours, end = run.business_hours, run.interval.end
        newest_end = max([end, *later.values()])
        return Work(
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

    @staticmethod
    def _unpublished(run: Run, runs: RunLog) -> list[Interval]:
        return runs.unpublished(KIND, run.dataset, Interval(BEFORE_ALL, run.interval.end))

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

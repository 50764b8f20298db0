"""The rebuild of datasets: built beside what there is, compared with it, and put in its place.

Bronze holds every event, so silver and gold can be made anew at any time: after a rule was mended,
or to prove that nothing but the events is in them. Meanwhile lander, speed layer and hourly batch
go on. What batch publishes while a version is being built is caught up with before the swap; what
it publishes between that and the swap makes the swap fail, and catch up again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession

from batch.dataset import bronze_table
from batch.inputs import ingested_positions, pinned, touched_hours
from batch.job import BEFORE_ALL, CONFLICT_BUDGET_SECONDS, KIND, BatchJob, NotLandedError
from batch.publication import Branch, PublishConflictError
from batch.rebuild.checksums import TableComparison, compare_versions
from batch.rebuild.versions import REBUILD, Version, Versions
from batch.refs import drop_refs
from batch.runs import Run, RunLog, Status
from lakehouse.catalog import CATALOG_NAME
from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval
from lakehouse.resilience import retrying
from schemas import contract

# Hourly runs may publish while versions are compared; then they are compared again.
COMPARISONS = 3

_log = structlog.get_logger(__name__)


class NoVersionError(LakehouseError):
    """There is no such version."""

    exit_code = 2


@dataclass(frozen=True)
class Rebuild:
    """Builds, compares, swaps and rolls back versions of the tables of some datasets.

    Attributes:
        jobs: Those of all datasets that write these tables, in the order in which they are built.
    """

    jobs: Sequence[BatchJob]

    @cached_property
    def versions(self) -> Versions:
        """The versions that there are."""
        return Versions(self._catalog, [job.dataset for job in self.jobs])

    def build(self) -> Version:
        """Build a new version from all events of the time that batch has published.

        A version that was built before and not swapped is dropped.

        Raises:
            NotLandedError: Batch has published nothing yet.
            batch.audit.AuditError: The result is not sound.
            batch.quality.QualityError: It breaks a rule that forbids to publish it.
        """
        self.drop(keep=self._kept_name())
        version = Version(self.versions.next)
        for branch in self._branches(version):
            branch.create(self._spark)
            branch.clear(self._spark)
        built = self._caught_up(version, Status.PUBLISHED)
        if not built.seen:
            self.drop(keep=self._kept_name())
            raise NotLandedError(f"batch has published nothing of {self.versions.group} yet")
        return built

    def compare(self, version: Version) -> tuple[Version, list[TableComparison]]:
        """Compare a version with what the tables show, once it has seen as much.

        Returns:
            The version with what it has caught up with, and what was found of each table.
        """
        found: list[TableComparison] = []
        for _ in range(COMPARISONS):
            heads = self._heads()
            version = self._caught_up(version, Status.PUBLISHED)
            found = [
                compare_versions(
                    self._at(branch.table, heads[branch.table]),
                    branch.read(self._spark),
                    contract(branch.table),
                )
                for branch in self._branches(version)
            ]
            if all(one.equal for one in found) or heads == self._heads():
                break
        return version, found

    def swap(self) -> Version:
        """Make the version that was built what the tables show; keep what they have shown.

        Tables are swapped one after the other. Like any publication this needs no transaction
        over tables: the merged view takes of each row what has seen more of the log.

        Raises:
            NoVersionError: None was built.
            PublishConflictError: Batch has published again and again meanwhile.
        """
        kept, version = self.versions.current, self._built()
        publications = {
            dataset: Run(KIND, dataset, run.interval, run.business_hours, cause=version.name)
            for dataset, run in version.seen.items()
        }
        # Recorded before: whoever runs an older interval from now on must not take hours back.
        for run in publications.values():
            self._runs.record(run, Status.STARTED)

        @retrying(on=PublishConflictError, budget_seconds=CONFLICT_BUDGET_SECONDS)
        def attempt() -> Version:
            # In this order: a run that is not in the log yet will find its branch overtaken.
            heads = self._heads()
            latest = self._caught_up(self._built(), Status.STARTED)
            for branch in self._branches(latest):
                branch.replace_main(self._catalog, expected=heads[branch.table], keep_as=kept)
            return latest

        try:
            version = attempt()
        except Exception as error:
            for run in publications.values():
                self._runs.record(run, Status.FAILED, detail=f"{type(error).__name__}: {error}")
            raise
        for job in self.jobs:
            if (seen := version.seen.get(job.dataset.name)) is None:
                continue
            run = publications.get(seen.dataset, replace(seen, kind=KIND))
            self._runs.record(
                replace(run, interval=seen.interval, business_hours=seen.business_hours),
                Status.PUBLISHED,
                offsets=ingested_positions(job.bronze(seen.interval.end), seen.interval),
            )
        self.drop(keep=kept)
        _log.info("swapped", version=version.name, kept=kept)
        return version

    def roll_back(self) -> Version:
        """Put the version that was replaced back, caught up with what batch has published since.

        Raises:
            NoVersionError: None was kept.
        """
        kept = self.versions.kept()
        if kept is None:
            raise NoVersionError(f"no earlier version of {self.versions.group} is kept")
        name = self.versions.next
        for branch in self._branches(Version(name)):
            branch.create(self._spark, of=kept.name)
        seen = {
            dataset: Run(REBUILD, dataset, run.interval, run.business_hours, cause=name)
            for dataset, run in kept.seen.items()
        }
        for run in seen.values():
            self._runs.record(run, Status.BUILT, detail=f"as {kept.name} was")
        return self.swap()

    def drop(self, *, keep: str | None = None) -> list[str]:
        """Drop all versions but the present one, and one that is to be kept; return their names."""
        doomed = [name for name in self.versions.names() if name != keep]
        for table in self.versions.tables:
            drop_refs(self._catalog, table, doomed)
        return doomed

    def events(self, version: Version) -> int:
        """Count the events that a version was made of."""
        seen = version.seen
        return sum(
            job.bronze(seen[job.dataset.name].interval.end).count()
            for job in self.jobs
            if job.dataset.name in seen
        )

    def _built(self) -> Version:
        version = self.versions.built()
        if version is None:
            raise NoVersionError(f"no version of {self.versions.group} was built")
        return version

    def _kept_name(self) -> str | None:
        kept = self.versions.kept()
        return kept.name if kept else None

    def _caught_up(self, version: Version, status: Status) -> Version:
        """Let a version see what the runs of its datasets have seen, if they came that far."""
        seen = dict(version.seen)
        for job in self.jobs:
            name = job.dataset.name
            through, before = self._runs.reach(KIND, name, status), seen.get(name)
            if through and (before is None or before.interval.end < through):
                seen[name] = self._advance(job, version.name, before, through)
        return replace(version, seen=seen)

    def _advance(self, job: BatchJob, name: str, before: Run | None, through: datetime) -> Run:
        """Write to a version what follows from the events of one stream that it has not seen."""
        start = before.interval.end if before else BEFORE_ALL
        interval = Interval(start, through)
        hours = touched_hours(job.bronze(through), interval)
        run = Run(REBUILD, job.dataset.name, interval, hours, cause=name)
        source = bronze_table(job.dataset)
        self._runs.record(run, Status.STARTED, snapshots={source: job.landed_through(through)})
        branches = {branch.table: branch for branch in self._branches(Version(name))}
        try:
            report = job.write(run, branches, later={}, unpublished=list)
        except Exception as error:
            self._runs.record(run, Status.FAILED, detail=f"{type(error).__name__}: {error}")
            raise
        whole = replace(
            run,
            interval=Interval(BEFORE_ALL, through),
            business_hours=tuple(sorted({*hours, *(before.business_hours if before else ())})),
        )
        self._runs.record(
            whole,
            Status.BUILT,
            snapshots={source: report.snapshot_id},
            rows_written=sum(report.rows.values()),
        )
        _log.info("built", version=name, dataset=run.dataset, interval=str(interval), **report.rows)
        return whole

    def _branches(self, version: Version) -> list[Branch]:
        return [Branch(table, version.name) for table in self.versions.tables]

    def _heads(self) -> Mapping[str, int | None]:
        """Return, by table, the snapshot that it shows."""
        return {
            table: self._catalog.load_table(table).metadata.current_snapshot_id
            for table in self.versions.tables
        }

    def _at(self, table: str, snapshot_id: int | None) -> DataFrame:
        if snapshot_id is None:
            return self._spark.table(f"{CATALOG_NAME}.{table}").limit(0)
        return pinned(self._spark, self._catalog.load_table(table), snapshot_id)

    @property
    def _spark(self) -> SparkSession:
        return self.jobs[0].spark

    @property
    def _catalog(self) -> Catalog:
        return self.jobs[0].catalog

    @property
    def _runs(self) -> RunLog:
        return RunLog(self._catalog)

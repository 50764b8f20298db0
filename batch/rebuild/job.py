"""The rebuild of datasets: built beside what there is, compared with it, and put in its place.

Bronze holds every event and every row of a file, so silver and gold can be made anew at any time:
after a rule was mended, or to prove that nothing else is in them. Meanwhile lander, speed layer and
hourly batch go on. What batch publishes while a version is being built is caught up with before the
swap; what it publishes between that and the swap makes the swap fail, and catch up again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Protocol

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession

from batch.dataset import TableSet
from batch.inputs import pinned
from batch.job import BEFORE_ALL, CONFLICT_BUDGET_SECONDS, Report
from batch.lineage import told
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


class OtherVersionError(LakehouseError):
    """The version that is wanted is not the next one."""

    exit_code = 2


class UnfinishedError(LakehouseError):
    """A build or a swap is at work, or was interrupted."""


class Job(Protocol):
    """What a rebuild asks of the job that writes a dataset's tables."""

    @property
    def spark(self) -> SparkSession:
        """The session."""

    @property
    def catalog(self) -> Catalog:
        """The lake's catalog."""

    @property
    def dataset(self) -> TableSet:
        """What it writes."""

    @property
    def kind(self) -> str:
        """What the run log calls its runs."""

    @property
    def source(self) -> str:
        """The bronze table that the dataset is made of."""

    def bronze(self, before: datetime) -> DataFrame:
        """Read the rows of bronze that were ingested before a time."""

    def landed_through(self, end: datetime) -> int:
        """Make sure that bronze is complete up to a time; return its snapshot."""

    def positions(self, interval: Interval) -> Mapping[str, tuple[int, int]]:
        """Return, by log partition, the positions that were ingested in an interval."""

    def write_seen(self, run: Run, made: Mapping[str, Branch], before: datetime) -> Report:
        """Write what follows from an interval's rows, of all that were ingested before a time."""

    def write_refused(self, interval: Interval) -> None:
        """Write the refused rows of an interval to the dead letters, each of them once."""


@dataclass(frozen=True)
class Rebuild:
    """Builds, compares, swaps and rolls back versions of the tables of some datasets.

    Attributes:
        jobs: Those of all datasets that write these tables, in the order in which they are built;
            their runs are of one kind.
    """

    jobs: Sequence[Job]

    @cached_property
    def versions(self) -> Versions:
        """The versions that there are."""
        return Versions(self._catalog, [job.dataset for job in self.jobs], self._kind)

    def build(self, wanted: str | None = None) -> Version:
        """Build a new version from all rows of bronze of the time that batch has published.

        A version that was built before and not swapped is dropped.

        Args:
            wanted: The name that the version must get; any without it.

        Raises:
            NoVersionError: Batch has published nothing yet, so there is nothing to build.
            OtherVersionError: It would not get that name.
            UnfinishedError: A build or a swap is at work, or was interrupted.
            batch.audit.AuditError: The result is not sound.
            batch.quality.QualityError: It breaks a rule that forbids to publish it.
        """
        self._refuse_unfinished()
        name = self.versions.next
        if wanted not in (None, name):
            raise OtherVersionError(f"the next version is {name}: {wanted} cannot be built")
        claims = [
            Run(REBUILD, job.dataset.name, Interval(BEFORE_ALL, through), (), cause=name)
            for job in self.jobs
            if (through := self._runs.reach(self._kind, job.dataset.name, Status.PUBLISHED))
        ]
        if not claims:
            raise NoVersionError(f"batch has published nothing of {self.versions.group} yet")
        with self._claimed(claims):
            self._drop_all_but(self.versions.kept)
            for branch in self._branches(name):
                branch.create(self._spark)
                branch.clear(self._spark)
            for claim in claims:
                self._advance(self._job(claim.dataset), claim, [claim.interval])
        return self._built()

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
                for branch in self._branches(version.name)
            ]
            if all(one.equal for one in found) or heads == self._heads():
                break
        return version, found

    def swap(self) -> Version:
        """Make the version that was built what the tables show; keep what they have shown.

        Tables are swapped one after the other. Like any publication this needs no transaction
        over tables: the merged view takes of each row what has seen more of the log. A swap that
        was interrupted goes on where it was.

        Raises:
            NoVersionError: None was built.
            PublishConflictError: Batch has published again and again meanwhile.
        """
        version, kept = self._built(), self.versions.current
        if kept == version.name and not self.versions.swapping():
            self._drop_all_but(self.versions.kept)  # which is all that was left to do
            return version
        if kept == version.name:
            kept = self.versions.kept or kept
        begun = self.versions.swapping()

        @retrying(on=PublishConflictError, budget_seconds=CONFLICT_BUDGET_SECONDS)
        def attempt() -> list[tuple[Run, Mapping[str, tuple[int, int]]]]:
            # In this order: a run that is not in the log yet will find its branch overtaken.
            heads = self._heads()
            latest = self._caught_up(self._built(), Status.STARTED)
            swaps = [
                replace(
                    begun.setdefault(dataset, _swap(run, self._kind)),
                    interval=run.interval,
                    business_hours=run.business_hours,
                )
                for dataset, run in latest.seen.items()
            ]
            # Recorded before: whoever runs an older interval from now on must not take hours back.
            for run in swaps:
                self._runs.record(run, Status.STARTED)
            offsets = [self._job(run.dataset).positions(run.interval) for run in swaps]
            for branch in self._branches(latest.name):
                branch.replace_main(self._catalog, expected=heads[branch.table], keep_as=kept)
            return list(zip(swaps, offsets, strict=True))

        for run, offsets in attempt():
            job = self._job(run.dataset)
            with told(self._catalog, run, job.dataset.tables):
                job.write_refused(run.interval)
            self._runs.record(run, Status.PUBLISHED, offsets=offsets)
        for run in self.versions.building():  # of a swap that was interrupted
            self._runs.record(run, Status.FAILED, detail="swapped since")
        self._drop_all_but(kept)
        _log.info("swapped", version=version.name, kept=kept)
        return version

    def roll_back(self) -> Version:
        """Put the version that was replaced back, with what it had not seen and batch has.

        Raises:
            NoVersionError: None was kept.
            UnfinishedError: A build or a swap is at work, or was interrupted.
        """
        self._refuse_unfinished()
        kept, swaps = self.versions.kept, self.versions.swap_to(self.versions.current)
        if kept is None or not swaps:
            raise NoVersionError(f"no earlier version of {self.versions.group} is kept")
        name = self.versions.next
        claims = [
            Run(REBUILD, swap.dataset, swap.interval, swap.business_hours, cause=name)
            for swap in swaps.values()
        ]
        with self._claimed(claims):
            for branch in self._branches(name):
                if kept in self._catalog.load_table(branch.table).metadata.refs:
                    branch.create(self._spark, of=kept)
                else:  # it was empty
                    branch.create(self._spark)
                    branch.clear(self._spark)
            for claim in claims:
                unseen = self.versions.unseen(claim.dataset, swaps[claim.dataset])
                self._advance(self._job(claim.dataset), claim, unseen)
        return self.swap()

    def drop(self) -> list[str]:
        """Drop all versions but the present one; return their names.

        Builds that were interrupted are given up.

        Raises:
            UnfinishedError: A swap was interrupted: some tables show a new version.
        """
        self._refuse_unfinished(builds=False)
        for run in self.versions.building():
            self._runs.record(run, Status.FAILED, detail="dropped")
        return self._drop_all_but(None)

    def events(self, version: Version) -> int:
        """Count the events, or rows of files, that a version was made of."""
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

    def _refuse_unfinished(self, *, builds: bool = True) -> None:
        group = self.versions.group
        if self.versions.swapping():
            raise UnfinishedError(
                f"a swap of {group} is at work or was interrupted; if nobody is at it, finish it: "
                "lakehouse rebuild swap"
            )
        if builds and self.versions.building():
            raise UnfinishedError(
                f"a build of {group} is at work or was interrupted; if nobody is at it, give it "
                "up: lakehouse rebuild drop"
            )

    @contextmanager
    def _claimed(self, claims: Sequence[Run]) -> Iterator[None]:
        """Let everybody know of a build while it is at work, and of its failure."""
        for run in claims:
            job = self._job(run.dataset)
            snapshots = {job.source: job.landed_through(run.interval.end)}
            self._runs.record(run, Status.STARTED, snapshots=snapshots)
        try:
            yield
        except Exception as error:
            for run in claims:
                self._runs.record(run, Status.FAILED, detail=f"{type(error).__name__}: {error}")
            raise

    def _drop_all_but(self, keep: str | None) -> list[str]:
        doomed = [name for name in self.versions.names() if name != keep]
        for table in self.versions.tables:
            drop_refs(self._catalog, table, doomed)
        return doomed

    def _caught_up(self, version: Version, status: Status) -> Version:
        """Let a version see what the runs of its datasets have seen, if they came that far."""
        seen = dict(version.seen)
        for job in self.jobs:
            name = job.dataset.name
            through, before = self._runs.reach(self._kind, name, status), seen.get(name)
            start = before.interval.end if before else BEFORE_ALL
            if through and start < through:
                hours = before.business_hours if before else ()
                whole = Interval(BEFORE_ALL, through)
                claim = Run(REBUILD, name, whole, hours, cause=version.name)
                with self._claimed([claim]):
                    seen[name] = self._advance(job, claim, [Interval(start, through)])
        return replace(version, seen=seen)

    def _advance(self, job: Job, claim: Run, unseen: Sequence[Interval]) -> Run:
        """Write to a version what follows from rows of bronze that it has not seen.

        Args:
            job: That of the rows' dataset.
            claim: What the version will have seen then, with the hours that it knows.
            unseen: The times at which these rows were ingested.

        Returns:
            The claim, with the hours of these rows, too.
        """
        through, hours, rows = claim.interval.end, {*claim.business_hours}, 0
        branches = {branch.table: branch for branch in self._branches(str(claim.cause))}
        for interval in unseen:
            # Computed from all that the version will have seen, wherever the gap is.
            report = job.write_seen(replace(claim, interval=interval), branches, through)
            hours |= {*report.business_hours}
            rows += sum(report.rows.values())
        done = replace(claim, business_hours=tuple(sorted(hours)))
        self._runs.record(done, Status.BUILT, rows_written=rows)
        _log.info("built", version=claim.cause, dataset=claim.dataset, rows=rows)
        return done

    def _job(self, dataset: str) -> Job:
        return next(job for job in self.jobs if job.dataset.name == dataset)

    def _branches(self, name: str) -> list[Branch]:
        return [Branch(table, name) for table in self.versions.tables]

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
    def _kind(self) -> str:
        return self.jobs[0].kind

    @property
    def _spark(self) -> SparkSession:
        return self.jobs[0].spark

    @property
    def _catalog(self) -> Catalog:
        return self.jobs[0].catalog

    @property
    def _runs(self) -> RunLog:
        return RunLog(self._catalog)


def _swap(build: Run, kind: str) -> Run:
    """Return the run by which what a build has made is published: one of its dataset's kind."""
    return Run(kind, build.dataset, build.interval, build.business_hours, cause=build.cause)

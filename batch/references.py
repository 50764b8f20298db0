"""Reference data: from dropped files in bronze to the tables that are made of them.

No log orders files, and no lander says up to when they are complete: a file that is being loaded
while an interval ends may be committed a little after it. So a run also takes what was committed
since the last one, however it is stamped; and like any other run it takes nothing back that a later
one has published.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial, reduce
from operator import or_
from typing import ClassVar

from pyiceberg.catalog import Catalog
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from batch.attempts import published
from batch.dataset import Dataset, Work
from batch.datasets import chosen
from batch.inputs import ingested_in, landed, pinned
from batch.inspection import inspect
from batch.job import Report
from batch.landing import NotLandedError
from batch.publication import Branch, branches
from batch.retirement import marks
from batch.runs import Run, RunLog, Status
from batch.steps import write_keyed
from lakehouse.catalog import CATALOG_NAME
from lakehouse.intervals import Interval
from lakehouse.transforms.reference import eod_bars, instruments

KIND = "reference"


def _everything(news: DataFrame) -> Column:
    """Tell of every row that it may change, unless no file is new."""
    return F.lit(not news.isEmpty())


def _their_years(news: DataFrame) -> Column:
    """Tell whether a bar is of a year of which some rows of files are."""
    found = eod_bars(news).select(F.year("business_date").alias("year")).distinct().collect()
    in_years = (
        F.col("business_date").between(F.make_date(*first), F.make_date(*last))
        for first, last in (
            ([F.lit(row.year), F.lit(1), F.lit(1)], [F.lit(row.year), F.lit(12), F.lit(31)])
            for row in found
        )
    )
    return reduce(or_, in_years, F.lit(False))


@dataclass(frozen=True)
class Reference:
    """A table that is made of the files of one dataset.

    Attributes:
        name: The dataset.
        source: Its table in bronze.
        table: The table that is made of it.
        transform: From the rows of bronze to those of the table.
        touched: Tells, given the rows that are new, which rows of the table may change.
        day: The column that tells of which day a row is; None where rows are kept for good.
    """

    name: str
    source: str
    table: str
    transform: Callable[[DataFrame], DataFrame]
    touched: Callable[[DataFrame], Column]
    day: str | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that a run writes: the one."""
        return (self.table,)

    def is_kept(self, since: datetime | None) -> Column:
        """Tell whether a row is of the time that the table has not retired: from then on."""
        if self.day is None or since is None:
            return F.lit(True)
        return F.col(self.day) >= F.lit(since.date())


REFERENCES: tuple[Reference, ...] = (
    Reference(
        "instruments", "bronze.files_instruments", "silver.instruments", instruments, _everything
    ),
    Reference(
        "eod_bars",
        "bronze.files_eod_bars",
        "gold.eod_bars",
        eod_bars,
        _their_years,
        day="business_date",
    ),
)


def chosen_for_batch(names: Sequence[str] | None) -> tuple[list[Dataset], list[Reference]]:
    """Return the datasets of topics and those of files that have some names; all without any.

    Raises:
        batch.datasets.UnknownDatasetError: There is none of a name.
    """
    if not names:
        return chosen(None), list(REFERENCES)
    references = [one for one in REFERENCES if one.name in names]
    of_files = {one.name for one in references}
    of_topics = [name for name in names if name not in of_files]
    return chosen(of_topics) if of_topics else [], references


def is_due(catalog: Catalog, reference: Reference, interval: Interval) -> bool:
    """Tell whether there are files in an interval, or any that were not seen to before."""
    table = catalog.load_table(reference.source)
    snapshot = table.current_snapshot()
    if snapshot is None:
        return False
    within = (
        f"ingested_at >= '{interval.start.isoformat()}'"
        f" and ingested_at < '{interval.end.isoformat()}'"
    )
    is_new = newest_seen(catalog, reference) != snapshot.snapshot_id
    return is_new or table.scan(row_filter=within).count() > 0


def newest_seen(catalog: Catalog, reference: Reference) -> int | None:
    """Return the newest snapshot of bronze that a run has seen to; None if there was no run."""
    return RunLog(catalog).newest_snapshot(KIND, reference.name, reference.source)


@dataclass(frozen=True)
class ReferenceJob:
    """Runs intervals of one dataset of files on one lake."""

    spark: SparkSession
    catalog: Catalog
    dataset: Reference

    kind: ClassVar[str] = KIND

    def run(self, interval: Interval, *, cause: str | None = None) -> Report | None:
        """Bring the table up to date with the files that were loaded before the interval's end.

        Args:
            interval: Ingestion times.
            cause: What the run is part of, for the run log.

        Returns:
            What was done; None where it is not due.

        Raises:
            batch.audit.AuditError: The result is not sound; nothing was published.
            batch.quality.QualityError: It breaks a rule; nothing was published.
        """
        if not is_due(self.catalog, self.dataset, interval):
            return None
        seen = newest_seen(self.catalog, self.dataset)
        snapshot_id = self.landed_through(interval.end)
        run, runs = Run(KIND, self.dataset.name, interval, (), cause=cause), RunLog(self.catalog)
        runs.record(run, Status.STARTED, snapshots={self.source: snapshot_id})
        return published(
            self.catalog,
            run,
            self.dataset.tables,
            lambda: self._publish(run, runs, seen),
            read=lambda report: {self.source: report.snapshot_id},
        )

    @property
    def source(self) -> str:
        """The bronze table that the dataset is made of."""
        return self.dataset.source

    def bronze(self, before: datetime) -> DataFrame:
        """Read the rows of all files that were loaded before a time."""
        return landed(self.spark, self.source, before)

    def landed_through(self, _end: datetime) -> int:
        """Return bronze's snapshot: what was loaded by now is all that there is.

        Raises:
            NotLandedError: Nothing was.
        """
        snapshot = self.catalog.load_table(self.source).current_snapshot()
        if snapshot is None:
            raise NotLandedError(f"{self.source} is empty: load files first (`lakehouse files`)")
        return snapshot.snapshot_id

    def positions(self, _interval: Interval) -> Mapping[str, tuple[int, int]]:
        """Return nothing: files have no positions in a log."""
        return {}

    def write_seen(self, run: Run, made: Mapping[str, Branch], before: datetime) -> Report:
        """Write to a branch what follows from the files of a run's interval, for a rebuild.

        What they touch is made of all files that were loaded before a time.

        Raises:
            NotLandedError: Nothing was loaded.
            batch.audit.AuditError: The result is not sound.
            batch.quality.QualityError: It breaks a rule that forbids to publish it.
        """
        snapshot_id = self.landed_through(before)
        rows = self._rows(snapshot_id, before)
        news = rows.where(ingested_in(run.interval))
        return self._write(run, made[self.dataset.table], snapshot_id, rows, news)

    def write_refused(self, _interval: Interval) -> None:
        """Do nothing: a row that breaks its contract is a dead letter before it is in bronze."""

    def _publish(self, run: Run, runs: RunLog, seen: int | None) -> Report:
        with branches(self.spark, self.dataset.tables, f"run_{run.run_id}") as (branch,):
            # As for events: the branch first, then who has published, then what there is.
            end = runs.newest_end(run)
            snapshot_id = self.landed_through(end)
            news = self._news(run.interval, snapshot_id, seen, end)
            report = self._write(run, branch, snapshot_id, self._rows(snapshot_id, end), news)
            branch.publish(self.spark)
        return report

    def _write(
        self, run: Run, branch: Branch, snapshot_id: int, rows: DataFrame, news: DataFrame
    ) -> Report:
        """Write to the branch what the rows of files make of all that the new ones touch."""
        retired = marks(self.catalog, self.dataset.tables)
        where = self.dataset.touched(news) & self.dataset.is_kept(retired.get(branch.table))
        work = Work(
            spark=self.spark,
            interval=run.interval,
            read_bronze=lambda: rows,
            as_of={},
            newest_end=run.interval.end,
            unpublished=list,
            branches={branch.table: branch},
            judge=lambda rows: rows,  # they were, by their contract, before they were loaded
            inspect=partial(inspect, self.catalog, run),
            retired=retired,
        )
        changed = write_keyed(work, self.dataset.transform(rows).where(where), branch, where=where)
        return Report(
            run.run_id, run.dataset, run.interval, (), snapshot_id, {branch.table: changed}
        )

    def _rows(self, snapshot_id: int, end: datetime) -> DataFrame:
        source = self.catalog.load_table(self.source)
        rows = pinned(self.spark, source, snapshot_id)
        return rows.where(F.col("ingested_at") < F.lit(end))

    def _news(
        self, interval: Interval, snapshot_id: int, seen: int | None, end: datetime
    ) -> DataFrame:
        """Return the rows of the interval, and those that were committed since the last run."""
        rows = self._rows(snapshot_id, end)
        if seen is None or not self._is_kept(seen):
            return rows
        of_interval = rows.where(ingested_in(interval))
        if seen == snapshot_id:
            return of_interval
        committed = (
            self.spark.read.option("start-snapshot-id", str(seen))
            .option("end-snapshot-id", str(snapshot_id))
            .format("iceberg")
            .load(f"{CATALOG_NAME}.{self.source}")
        )
        return of_interval.unionByName(committed)

    def _is_kept(self, snapshot_id: int) -> bool:
        table = self.catalog.load_table(self.source)
        return table.snapshot_by_id(snapshot_id) is not None

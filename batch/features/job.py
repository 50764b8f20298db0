"""A run of features: the business hours that an interval's trades and quotes have moved.

Features are made of what the runs of both datasets have published, as it is when the run begins. So
a run takes nothing back, in whatever order runs come, and one that is repeated changes nothing. It
is no part of the datasets' own runs: bars must not wait for the inputs of models, nor fail by them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import ClassVar

from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch.attempts import published
from batch.dataset import Work
from batch.inputs import pinned, within
from batch.inspection import inspect
from batch.job import KIND as BATCH
from batch.job import Report
from batch.publication import branches
from batch.retirement import marks
from batch.runs import Run, RunLog, Status
from batch.steps import write_keyed
from lakehouse.catalog import CATALOG_NAME
from lakehouse.coverage import recomputed_hours
from lakehouse.errors import LakehouseError
from lakehouse.intervals import HOUR, Interval, covering
from lakehouse.transforms.features import REACH, features_1m

KIND = "derived"
NAME = "features"
FEATURES = "gold.features_1m"
TRADES, SPREADS = "silver.trades", "gold.spreads_1m"
MADE_OF = ("trades", "quotes")


class NotPublishedError(LakehouseError):
    """Batch has not published all that features of an interval are made of."""


def moved_hours(catalog: Catalog, interval: Interval) -> tuple[datetime, ...]:
    """Return the business hours that batch's runs of an interval have recomputed, in order.

    Args:
        catalog: The lake's catalog.
        interval: Ingestion times.

    Raises:
        NotPublishedError: Batch has not processed all of the interval.
    """
    log, hours = RunLog(catalog), set[datetime]()
    for dataset in MADE_OF:
        if gaps := log.unpublished(BATCH, dataset, interval):
            raise NotPublishedError(
                f"features of {interval} need its {dataset}, of which {gaps[0]} is not published: "
                f"run `lakehouse batch --dataset {dataset}` first"
            )
        hours.update(recomputed_hours(catalog, BATCH, dataset, interval))
    return tuple(sorted(hours))


@dataclass(frozen=True)
class FeaturesJob:
    """Runs intervals of features on one lake."""

    spark: SparkSession
    catalog: Catalog

    tables: ClassVar[tuple[str, ...]] = (FEATURES,)

    def run(self, interval: Interval, *, cause: str | None = None) -> Report:
        """Recompute the features that events ingested in the interval may have changed.

        Args:
            interval: Ingestion times.
            cause: What the run is part of, for the run log.

        Raises:
            NotPublishedError: Batch has not processed all of the interval.
            batch.audit.AuditError: The result is not sound; nothing was published.
            batch.quality.QualityError: It breaks a rule; nothing was published.
        """
        moved = moved_hours(self.catalog, interval)
        # The hour after one that moved looks back at it.
        hours = tuple(sorted({*moved, *(hour + HOUR for hour in moved)}))
        run = Run(KIND, NAME, interval, hours, cause=cause)
        read = self._newest()
        # Upkeep leaves the files of these tables alone while the run is at work.
        RunLog(self.catalog).record(run, Status.STARTED, snapshots=read)
        return published(
            self.catalog, run, self.tables, partial(self._publish, run, read), read=lambda _: read
        )

    def _publish(self, run: Run, read: dict[str, int | None]) -> Report:
        with branches(self.spark, self.tables, f"run_{run.run_id}") as (branch,):
            # The branch first: of two runs at once, the one that publishes later begins anew, and
            # then reads what the other has read, or more.
            read |= self._newest()
            report = partial(Report, run.run_id, NAME, run.interval, run.business_hours)
            retired = marks(self.catalog, (FEATURES, TRADES))
            spans = covering(_kept(run.business_hours, retired))
            if not spans:
                return report(read[TRADES] or 0, {FEATURES: 0})
            trades, spreads = (self._read(name, read[name]) for name in (TRADES, SPREADS))
            work = Work(
                spark=self.spark,
                interval=run.interval,
                read_bronze=lambda: trades,
                as_of={},
                newest_end=run.interval.end,
                unpublished=list,
                branches={FEATURES: branch},
                judge=lambda rows: rows,  # they were, before they were published
                inspect=partial(inspect, self.catalog, run),
                retired=retired,
            )
            where = within("window_start", spans)
            reach = [Interval(span.start - REACH, span.end) for span in spans]
            rows = features_1m(trades.where(within("event_time", reach)), spreads.where(where))
            reported = trades.where(
                within("event_time", spans) & F.col("trade_position").isNotNull()
            )
            changed = write_keyed(
                work,
                rows.where(where),
                branch,
                where=where,
                totals={"trade_count": reported.count()},
            )
            branch.publish(self.spark)
        return report(read[TRADES] or 0, {FEATURES: changed})

    def _newest(self) -> dict[str, int | None]:
        """Return, by table that features are made of, its snapshot as it is now."""
        tables = {name: self.catalog.load_table(name) for name in (TRADES, SPREADS)}
        return {name: one.metadata.current_snapshot_id for name, one in tables.items()}

    def _read(self, name: str, snapshot_id: int | None) -> DataFrame:
        if snapshot_id is None:
            return self.spark.table(f"{CATALOG_NAME}.{name}")
        return pinned(self.spark, self.catalog.load_table(name), snapshot_id)


def _kept(hours: Iterable[datetime], retired: Mapping[str, datetime]) -> list[datetime]:
    """Return the hours of which nothing is retired that their features are made of, or are."""
    since = max([*retired.values()], default=None)
    return [hour for hour in hours if since is None or since <= hour - REACH]

"""Backfill: batch over a stretch of past ingestion time, interval by interval.

A backfill is the hourly run with other intervals: the same code, the same run log. It can be
stopped at any moment and started again, and goes on with the intervals that it has not published.
The speed layer, the lander and the hourly run go on beside it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from threading import Event

from pyiceberg.catalog import Catalog

from batch.dataset import Dataset
from batch.job import BatchJob, Report
from batch.references import Reference, ReferenceJob, is_due
from batch.runs import RunLog
from lakehouse.intervals import Interval


@dataclass(frozen=True)
class Plan:
    """What a backfill consists of.

    Attributes:
        interval: The stretch of ingestion time.
        step: The length of one run's interval.
        reverse: Begin with the latest interval. The result is the same.
    """

    interval: Interval
    step: timedelta
    reverse: bool = False

    @property
    def cause(self) -> str:
        """What the run log has on each of its runs: the same plan goes on where it stopped."""
        seconds = int(self.step.total_seconds())
        return (
            f"backfill {self.interval.start.isoformat()}/{self.interval.end.isoformat()}/{seconds}"
        )

    @property
    def intervals(self) -> list[Interval]:
        """The intervals of its runs, in their order."""
        pieces = list(self.interval.split(self.step))
        return pieces[::-1] if self.reverse else pieces


def planned(
    catalog: Catalog, datasets: Iterable[Dataset | Reference], plan: Plan
) -> dict[str, list[Interval]]:
    """Return by dataset the intervals of a plan's runs, in their order."""
    return {dataset.name: _intervals(catalog, dataset, plan) for dataset in datasets}


def pending(
    catalog: Catalog,
    intervals: Mapping[str, Sequence[Interval]],
    plan: Plan,
    *,
    again: bool = False,
) -> dict[str, list[Interval]]:
    """Return of the intervals of a plan's runs, by dataset, those that it has not published.

    Args:
        catalog: The lake's catalog.
        intervals: By dataset, those of its runs.
        plan: The plan.
        again: Take none as published.
    """
    done = set() if again else RunLog(catalog).published_for(plan.cause)
    return {
        name: [one for one in of_dataset if (name, one) not in done]
        for name, of_dataset in intervals.items()
    }


def _intervals(catalog: Catalog, dataset: Dataset | Reference, plan: Plan) -> list[Interval]:
    if isinstance(dataset, Reference):
        return [plan.interval] if is_due(catalog, dataset, plan.interval) else []
    return plan.intervals


@dataclass(frozen=True)
class Backfill:
    """Runs a plan for some datasets.

    Datasets run side by side, as many as are allowed; the intervals of one dataset in order, since
    each publication is the next one's past: whatever hours they touch, they publish to the same
    tables, and of two at the same time one would have to begin again. Reference data are not made
    by the hour: one run of the whole stretch brings them up to date, if there are files.
    """

    jobs: Sequence[BatchJob | ReferenceJob]
    catalog: Catalog

    def pending(self, plan: Plan, *, again: bool = False) -> dict[str, list[Interval]]:
        """Return by dataset the intervals that the plan has not published, in their order.

        Args:
            plan: The plan.
            again: Take none as published.
        """
        datasets = [job.dataset for job in self.jobs]
        return pending(self.catalog, planned(self.catalog, datasets, plan), plan, again=again)

    def run(
        self,
        plan: Plan,
        *,
        again: bool = False,
        parallel: int = 1,
        tell: Callable[[Report], None] = lambda _: None,
    ) -> None:
        """Run what is pending; the first failure ends it, after the runs that are under way.

        Args:
            plan: The plan.
            again: Also run what is published.
            parallel: How many datasets are worked on at the same time.
            tell: Is told each run that has ended well.

        Raises:
            batch.job.NotLandedError: The stretch is not over yet as far as bronze is concerned.
            batch.audit.AuditError: A result is not sound; it was not published.
        """
        pending, failed = self.pending(plan, again=again), Event()

        def work(job: BatchJob | ReferenceJob) -> None:
            for interval in pending[job.dataset.name]:
                if failed.is_set():
                    return
                try:
                    report = job.run(interval, cause=plan.cause)
                    if report is not None:  # somebody else has seen to the files meanwhile
                        tell(report)
                except BaseException:
                    failed.set()
                    raise

        with ThreadPoolExecutor(parallel, thread_name_prefix="backfill") as threads:
            for ended in [threads.submit(work, job) for job in self.jobs]:
                ended.result()

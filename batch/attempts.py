"""Publishing until nobody else does meanwhile, with what the run log and lineage are told of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import structlog
from pyiceberg.catalog import Catalog

from batch.job import CONFLICT_BUDGET_SECONDS, Report
from batch.lineage import told
from batch.publication import Conflicts, PublishConflictError
from batch.runs import Run, RunLog, Status
from lakehouse.resilience import retrying
from lakehouse.tracing import RUN, describe_span, run_span

_log = structlog.get_logger(__name__)


def published(
    catalog: Catalog,
    run: Run,
    tables: Iterable[str],
    publish: Callable[[], Report],
    *,
    read: Callable[[Report], Mapping[str, int | None]],
) -> Report:
    """Try a run until no other publishes to its tables meanwhile; record how it ends.

    Args:
        catalog: The lake's catalog.
        run: The run, which the log knows to have started.
        tables: Those that it writes.
        publish: One attempt.
        read: Returns, by table, the snapshot that was read.

    Raises:
        Exception: Whatever the attempt raises but conflicts; the run has FAILED then.
    """
    runs, conflicts = RunLog(catalog), Conflicts()

    @retrying(on=PublishConflictError, budget_seconds=CONFLICT_BUDGET_SECONDS)
    def attempt() -> Report:
        with conflicts.counted():
            return publish()

    with run_span(run.kind, run.dataset, run.interval):
        describe_span({RUN: run.run_id})
        try:
            with told(catalog, run, tables) as rows:
                report = replace(attempt(), conflicts=conflicts.count)
                rows.update(report.rows)
        except Exception as error:
            runs.record(run, Status.FAILED, detail=f"{type(error).__name__}: {error}"[:2000])
            raise
    runs.record(
        run,
        Status.PUBLISHED,
        snapshots=read(report),
        rows_written=sum(report.rows.values()),
        conflicts=conflicts.count,
    )
    _log.info("published", interval=str(run.interval), dataset=run.dataset, **report.rows)
    return report

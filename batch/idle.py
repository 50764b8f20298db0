"""Hours in which nothing of a dataset was ingested: recorded as processed, without an engine."""

from pyiceberg.catalog import Catalog

from batch.dataset import Dataset, bronze_table
from batch.job import KIND, Report
from batch.landing import landed_snapshot
from batch.runs import Run, RunLog, Status
from lakehouse.intervals import Interval


def run_idle(catalog: Catalog, dataset: Dataset, interval: Interval) -> Report | None:
    """Record the run of an interval in which nothing was ingested; it changes no table.

    Returns:
        What `BatchJob.run` would report; None if something was ingested, which is its to process.

    Raises:
        batch.landing.NotLandedError: The lander has not passed the interval's end.
    """
    source = bronze_table(dataset)
    snapshot_id = landed_snapshot(catalog, source, interval.end).snapshot_id
    ingested = catalog.load_table(source).scan(
        row_filter=(
            f"ingested_at >= '{interval.start.isoformat()}'"
            f" and ingested_at < '{interval.end.isoformat()}'"
        ),
        selected_fields=("ingested_at",),
        snapshot_id=snapshot_id,
        limit=1,
    )
    if ingested.to_arrow().num_rows:
        return None
    run, runs, snapshots = (
        Run(KIND, dataset.name, interval, ()),
        RunLog(catalog),
        {source: snapshot_id},
    )
    runs.record(run, Status.STARTED, snapshots=snapshots)
    runs.record(run, Status.PUBLISHED, snapshots=snapshots, offsets={}, rows_written=0, conflicts=0)
    return Report(run.run_id, run.dataset, interval, (), snapshot_id)

"""The lineage of the batch layer's runs."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial

from pyiceberg.catalog import Catalog

from batch.runs import Run
from lakehouse.lineage import lineage_run
from schemas.flows import flow_into


def told(
    catalog: Catalog, run: Run, tables: Iterable[str], *, reads: Iterable[str] = ()
) -> AbstractContextManager[dict[str, int]]:
    """Tell of a run that it begins and how it ends, as the job ``batch.trades`` for instance.

    Args:
        catalog: Tells where the tables lie.
        run: The run.
        tables: Those that it writes.
        reads: Tables that it reads beside those that the written columns are made of.

    Returns:
        A context that takes, by table, how many rows were written.
    """
    return lineage_run(
        f"{run.kind}.{run.dataset}",
        partial(flow_into, catalog=catalog, tables=tables, reads=reads),
        run_id=run.run_id,
        interval=run.interval,
    )

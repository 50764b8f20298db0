"""Whether the lander has passed a time, as the bronze tables tell it."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime

from pyiceberg.catalog import Catalog
from pyiceberg.table.snapshots import Snapshot

from lakehouse.errors import LakehouseError
from lakehouse.progress import read_progress

POLL_SECONDS = 0.5


class NotLandedError(LakehouseError):
    """The interval is not over yet as far as bronze is concerned."""


def landed_snapshot(catalog: Catalog, source: str, end: datetime) -> Snapshot:
    """Return a snapshot of a bronze table that holds all that was ingested before a time.

    Raises:
        NotLandedError: There is none yet.
    """
    table = catalog.load_table(source)
    snapshot, progress = table.current_snapshot(), read_progress(table)
    if snapshot is None or progress is None:
        raise NotLandedError(f"{source} is empty: land events first (`lakehouse land`)")
    if progress.ingested_through < end:
        raise NotLandedError(
            f"{source} is landed through {progress.ingested_through.isoformat()}, the "
            f"interval ends at {end.isoformat()}: start the lander or wait for it"
        )
    return snapshot


def wait_until_landed(
    catalog: Catalog,
    tables: Iterable[str],
    through: datetime,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait for the lander to pass a time in all of some bronze tables.

    A table whose topic is quiet says only with the lander's heartbeat up to when it is complete.

    Args:
        catalog: The lake's catalog.
        tables: The bronze tables.
        through: The time.
        seconds: How long to wait at most.
        clock: Tells seconds that never go back.
        sleep: Waits for so many seconds.

    Raises:
        NotLandedError: It has not passed it; the message says how far each table is.
    """
    missing = list(tables)
    deadline = clock() + seconds
    while behind := _behind(catalog, missing, through):
        if clock() >= deadline:
            raise NotLandedError("; ".join(behind.values()))
        missing = list(behind)
        sleep(POLL_SECONDS)


def _behind(catalog: Catalog, tables: Iterable[str], through: datetime) -> dict[str, str]:
    """Return what the tables say that are not landed through a time."""
    found = {}
    for table in tables:
        try:
            landed_snapshot(catalog, table, through)
        except NotLandedError as error:
            found[table] = str(error)
    return found

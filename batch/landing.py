"""Whether the lander has passed a time, as the bronze tables tell it."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime

from pyiceberg.catalog import Catalog

from lakehouse.progress import read_progress

POLL_SECONDS = 0.5


def is_landed(catalog: Catalog, table: str, through: datetime) -> bool:
    """Tell whether a bronze table holds all that was ingested before a time."""
    progress = read_progress(catalog.load_table(table))
    return progress is not None and progress.ingested_through >= through


def wait_until_landed(
    catalog: Catalog,
    tables: Iterable[str],
    through: datetime,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait for the lander; tell whether it has passed a time in all of some bronze tables.

    A table whose topic is quiet says only with the lander's heartbeat up to when it is complete.

    Args:
        catalog: The lake's catalog.
        tables: The bronze tables.
        through: The time.
        seconds: How long to wait at most.
        clock: Tells seconds that never go back.
        sleep: Waits for so many seconds.
    """
    behind = list(tables)
    deadline = clock() + seconds
    while behind := [table for table in behind if not is_landed(catalog, table, through)]:
        if clock() >= deadline:
            return False
        sleep(POLL_SECONDS)
    return True

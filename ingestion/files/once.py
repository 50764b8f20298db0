"""Appends what a file has to a table, once, whoever was killed in between and whoever else tries.

All of a file's rows are in one commit, and each row carries the file's checksum. So a look at the
table tells whether they are in, and a commit that lost a race looks again before the next attempt.
PyIceberg's own retries, which append on top of whatever won, are switched off.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table
from sqlalchemy.exc import SQLAlchemyError

from ingestion.lander.commits import for_one_commit
from lakehouse.resilience import retrying

# A lander commits to the dead letters every half second at most; the catalog or the store may be
# away for as long as it takes to start them again.
BUDGET_SECONDS: Final = 300.0
INGESTED_AT: Final = "lakehouse.file.ingested-at"
MICROSECOND: Final = timedelta(microseconds=1)

Chunks = Callable[[datetime], Iterator[pa.Table]]


def append_once(
    catalog: Catalog,
    name: str,
    *,
    known: str | BooleanExpression,
    chunks: Chunks,
    clock: Callable[[], datetime],
    summary: dict[str, str],
) -> int:
    """Append rows unless they are there, all of them in one commit.

    Args:
        catalog: The catalog named ``lake``.
        name: The table.
        known: Row filter that tells these rows from all others.
        chunks: Makes the rows, in the table's schema, given their time of ingestion; it is called
            again for every attempt.
        clock: Tells the time, UTC.
        summary: What the snapshot is to say of itself.

    Returns:
        How many of these rows the table has.
    """

    @retrying(on=(CommitFailedException, SQLAlchemyError, OSError), budget_seconds=BUDGET_SECONDS)
    def attempt() -> int:
        table = catalog.load_table(name)
        if there := table.scan(row_filter=known).count():
            return there
        now = max(clock(), _latest(table) + MICROSECOND)
        count = 0
        with for_one_commit(table).transaction() as transaction:
            for rows in chunks(now):
                count += len(rows)
                transaction.append(
                    rows, snapshot_properties=summary | {INGESTED_AT: now.isoformat()}
                )
        return count

    return attempt()


def _latest(table: Table) -> datetime:
    """Return the latest time of ingestion of a file, so that a clock may go back and loads not."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        entries = snapshot.summary.additional_properties if snapshot.summary else {}
        if INGESTED_AT in entries:
            return datetime.fromisoformat(entries[INGESTED_AT])
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.snapshot_by_id(parent)
    return datetime.min.replace(tzinfo=UTC)

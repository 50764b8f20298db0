"""What the lake's tables held at a time gone by, as far back as their history is kept.

A batch table keeps its snapshots for days. A speed twin commits every second and keeps them for
minutes, so of an earlier time it can say nothing. The merged views then are the batch layer as it
was published: fewer rows, all of them RECONCILED, each as exact as ever for the position that it
states.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import structlog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

import schemas
from lakehouse.errors import LakehouseError
from lakehouse.progress import is_first

# Of a table whose first snapshot is still there, everything is known.
_EVER = datetime.min.replace(tzinfo=UTC)

_log = structlog.get_logger(__name__)


class HistoryError(LakehouseError):
    """The lake does not know what it held at that time: it is too long ago, or yet to come."""

    exit_code = 2


def snapshots_at(
    tables: Mapping[str, Table], time: datetime, *, named: Iterable[str]
) -> dict[str, int | None]:
    """Return, by table, the snapshot that was current at a time; None where there were no rows.

    Args:
        tables: The tables that a query reads, freshly loaded.
        time: The time, UTC.
        named: Those that the query names itself: of a speed twin that only views read, what it
            no longer knows is left out.

    Raises:
        HistoryError: The time is yet to come, or a table's history does not reach back to it.
    """
    if time > datetime.now(UTC):
        raise HistoryError(f"{time.isoformat()} is yet to come: nobody knows what will be then")
    twins = twins_behind(tables, named=named)
    found: dict[str, int | None] = {}
    for name, table in tables.items():
        since = known_since(table)
        if since <= time:
            found[name] = _current_at(table, time)
        elif name in twins:
            found[name] = None
            _log.warning(
                "what only the speed layer knew then is left out: rows are RECONCILED only",
                table=name,
                known_since=since.isoformat(),
            )
        else:
            raise HistoryError(
                f"the history of {name} reaches back to {since.isoformat()}, not to "
                f"{time.isoformat()}: its contract keeps no snapshots for longer"
            )
    return found


def twins_behind(names: Iterable[str], *, named: Iterable[str]) -> frozenset[str]:
    """Return the tables of the speed layer among some that a query does not name itself."""
    contracts = schemas.contracts()
    behind = frozenset(names) - frozenset(named)
    return frozenset(n for n in behind if n in contracts and contracts[n].batch_twin is not None)


def known_since(table: Table) -> datetime:
    """Return the time from which on it is known, without a gap, what a table held (UTC)."""
    entries = table.history()
    if not entries:
        return _EVER
    at = len(entries) - 1
    # What was expired in between is gone from the list, and the entry before it was not current
    # for as long as it seems. So each must descend from the one before.
    while at > 0 and _descends(table, entries[at].snapshot_id, entries[at - 1].snapshot_id):
        at -= 1
    if at == 0 and is_first(_root(table, entries[0].snapshot_id)):
        return _EVER
    return datetime.fromtimestamp(entries[at].timestamp_ms / 1000, UTC)


def _current_at(table: Table, time: datetime) -> int | None:
    snapshot = table.snapshot_as_of_timestamp(int(time.timestamp() * 1000))
    return None if snapshot is None else snapshot.snapshot_id


def _descends(table: Table, snapshot_id: int, ancestor_id: int) -> bool:
    at: int | None = snapshot_id
    while at is not None and at != ancestor_id:
        snapshot = table.snapshot_by_id(at)
        at = None if snapshot is None else snapshot.parent_snapshot_id
    return at is not None and table.snapshot_by_id(at) is not None


def _root(table: Table, snapshot_id: int) -> Snapshot:
    """Return the oldest ancestor of a snapshot that is kept."""
    snapshot = table.snapshot_by_id(snapshot_id)
    if snapshot is None:
        raise HistoryError(f"{'.'.join(table.name())} names a snapshot that it does not have")
    while snapshot.parent_snapshot_id is not None:
        parent = table.snapshot_by_id(snapshot.parent_snapshot_id)
        if parent is None:
            break
        snapshot = parent
    return snapshot

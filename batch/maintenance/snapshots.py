"""Which snapshots have become too old to be read, and are nobody's."""

from datetime import datetime

from pyiceberg.table import Table

from lakehouse.expiry import history_kept
from lakehouse.progress import expirable_snapshots


def expirable(table: Table, *, as_of: datetime, carries_progress: bool) -> list[int]:
    """Return the snapshots of a table that reached the age which its contract states, in order.

    Kept whatever their age: what a branch or tag names, all that a branch has and the main line has
    not, and of a landed table the way back to the newest snapshot that carries progress. Of those
    that no branch leads to any more, as a dropped one leaves them, none is kept.

    Args:
        table: The table, freshly loaded.
        as_of: The time that ages are measured against.
        carries_progress: Whether a lander writes to the table.
    """
    before = as_of - history_kept(table)
    doomed = set(expirable_snapshots(table, before=before, carries_progress=carries_progress))
    reachable = _reachable(table)
    doomed |= {
        snapshot.snapshot_id
        for snapshot in table.metadata.snapshots
        if snapshot.snapshot_id not in reachable
        and snapshot.timestamp_ms < before.timestamp() * 1000
    }
    return sorted(doomed)


def _reachable(table: Table) -> set[int]:
    """Return the snapshots that branches and tags name, and their ancestors."""
    found: set[int] = set()
    for ref in table.metadata.refs.values():
        at: int | None = ref.snapshot_id
        while at is not None and at not in found:
            found.add(at)
            snapshot = table.snapshot_by_id(at)
            at = None if snapshot is None else snapshot.parent_snapshot_id
    return found

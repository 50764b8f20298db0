"""Keeps the history of a table that commits every second from growing without bound.

Expiring a snapshot takes it out of the metadata that every commit rewrites. Its manifest list,
and manifests that have since been merged, are then reachable from nowhere and are deleted as
well. Data files are never touched: a streaming table mostly appends, so they are still in use;
those that a reconciliation or a compaction has replaced are left to the orphan removal of
maintenance, which has the time for it.
"""

from datetime import datetime, timedelta

import structlog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertTableUUID, RemoveSnapshotsUpdate
from sqlalchemy.exc import SQLAlchemyError

from lakehouse.progress import expirable_snapshots

# Of a table whose contract was applied before contracts stated it. A reader that has planned its
# files is not disturbed by expiry; one that comes back to a snapshot id after longer than this has
# to tag it.
KEEP = timedelta(minutes=5)
EXPIRE_EVERY_SECONDS = 60.0

log = structlog.get_logger(__name__)


def history_kept(table: Table) -> timedelta:
    """Return the age that every snapshot of a table reaches, as its contract states it."""
    stated = table.properties.get(TableProperties.MAX_SNAPSHOT_AGE_MS)
    return KEEP if stated is None else timedelta(milliseconds=int(stated))


def expire(table: Table, *, now: datetime, carries_progress: bool = True) -> int:
    """Expire old snapshots that nobody pins and return how many; a lost race is left for later.

    Args:
        table: A table that a stream appends to, freshly loaded.
        now: The present, UTC.
        carries_progress: False for a table that no lander writes to.
    """
    before = now - history_kept(table)
    doomed = set(expirable_snapshots(table, before=before, carries_progress=carries_progress))
    if not doomed:
        return 0
    try:
        garbage = _unreachable_files(table, doomed)
        _remove(table, doomed)
        for path in garbage:
            table.io.delete(path)
    except (CommitFailedException, SQLAlchemyError, OSError, ValueError) as error:
        log.warning("expiry put off", table=".".join(table.name()), error=repr(error))
        return 0
    return len(doomed)


def _remove(table: Table, doomed: set[int]) -> None:
    """Take snapshots out of a table's metadata.

    PyIceberg's own expiry copies the whole metadata twice for each snapshot that it is told: a
    third of a lander's time.
    """
    same_table = AssertTableUUID(uuid=table.metadata.table_uuid)
    removal = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": sorted(doomed)})
    table.catalog.commit_table(table, (same_table,), (removal,))


def _unreachable_files(table: Table, doomed: set[int]) -> list[str]:
    """Return manifest lists and manifests that only the doomed snapshots lead to."""
    gone = [s for s in table.metadata.snapshots if s.snapshot_id in doomed]
    kept = {s.snapshot_id: s for s in table.metadata.snapshots if s.snapshot_id not in doomed}
    # A manifest that has left the table never returns. What a kept snapshot shares with a doomed
    # one is therefore also in the kept one at the border between them; no other need be read.
    befores = {s.parent_snapshot_id for s in gone}
    borders = [s for id_, s in kept.items() if s.parent_snapshot_id not in kept or id_ in befores]
    reachable = {path for snapshot in borders for path in _manifests(table, snapshot)}
    merged = {path for snapshot in gone for path in _manifests(table, snapshot)} - reachable
    return [*(snapshot.manifest_list for snapshot in gone), *sorted(merged)]


def _manifests(table: Table, snapshot: Snapshot) -> set[str]:
    return {manifest.manifest_path for manifest in snapshot.manifests(table.io)}

"""How big a table is, as upkeep reports it before and after."""

from dataclasses import dataclass

from pyiceberg.table import Table


@dataclass(frozen=True)
class TableSize:
    """What a reader of a table's current snapshot has to open, and what history is kept.

    Attributes:
        files: Data files.
        bytes: Their size together.
        manifests: Lists of files, each of which planning a scan may open.
        snapshots: Snapshots that can be read.
    """

    files: int = 0
    bytes: int = 0
    manifests: int = 0
    snapshots: int = 0


def size_of(table: Table) -> TableSize:
    """Measure a table, freshly loaded."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return TableSize()
    # Every engine keeps the totals in the summary up to date.
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    return TableSize(
        files=int(summary.get("total-data-files", 0)),
        bytes=int(summary.get("total-files-size", 0)),
        manifests=len(snapshot.manifests(table.io)),
        snapshots=len(table.metadata.snapshots),
    )

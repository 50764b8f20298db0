"""How far the log has been landed: the lander's progress, as bronze snapshots carry it.

Offsets are committed in the same Iceberg snapshot as the rows they account for, in the
snapshot's summary. Progress is therefore exactly as durable as the rows: whoever sees the rows
sees the offsets, and the newest ancestor snapshot that carries the keys is where to resume.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from lakehouse.errors import LakehouseError

PREFIX = "lakehouse"
_FIELDS = ("topic", "topic-id", "topic-generation", "offsets", "ingested-through")


class ProgressLostError(LakehouseError):
    """A table's history was cut off before the snapshot that carried its progress."""


@dataclass(frozen=True)
class Progress:
    """What of one topic is in a table, as of one snapshot.

    Attributes:
        topic: Name of the Kafka topic.
        topic_id: Kafka's own id of the topic; another id is another incarnation.
        generation: Number of the incarnation, counted by us from 0.
        offsets: Next Kafka offset to read, for every partition of the topic.
        ingested_through: UTC time T: every row with ``ingested_at`` < T is committed, and every
            row yet to come will have ``ingested_at`` >= T.
    """

    topic: str
    topic_id: str
    generation: int
    offsets: Mapping[int, int]
    ingested_through: datetime

    def to_summary(self, *, of: str | None = None) -> dict[str, str]:
        """Return the snapshot summary entries, qualified by topic where several feed a table."""
        values = (
            self.topic,
            self.topic_id,
            str(self.generation),
            json.dumps({str(p): self.offsets[p] for p in sorted(self.offsets)}),
            self.ingested_through.astimezone(UTC).isoformat(timespec="microseconds"),
        )
        return dict(zip(_keys(of), values, strict=True))


def _keys(of: str | None) -> tuple[str, ...]:
    prefix = PREFIX if of is None else f"{PREFIX}.{of}"
    return tuple(f"{prefix}.{field}" for field in _FIELDS)


def _from_summary(snapshot: Snapshot, of: str | None) -> Progress | None:
    if snapshot.summary is None:
        return None
    entries = snapshot.summary.additional_properties
    if _keys(of)[0] not in entries:
        return None
    topic, topic_id, generation, offsets, through = (entries[key] for key in _keys(of))
    return Progress(
        topic=topic,
        topic_id=topic_id,
        generation=int(generation),
        offsets={int(partition): offset for partition, offset in json.loads(offsets).items()},
        ingested_through=datetime.fromisoformat(through),
    )


def _ancestors(table: Table, snapshot_id: int | None) -> Iterator[Snapshot]:
    """Yield the given (or current) snapshot and its ancestors, as far as history is kept."""
    head = table.current_snapshot() if snapshot_id is None else table.snapshot_by_id(snapshot_id)
    while head is not None:
        yield head
        parent = head.parent_snapshot_id
        head = None if parent is None else table.snapshot_by_id(parent)


def read_progress(
    table: Table, *, of: str | None = None, snapshot_id: int | None = None
) -> Progress | None:
    """Return the progress of the newest ancestor snapshot that carries one, or None.

    Args:
        table: A bronze table, freshly loaded. Other writers' snapshots are passed over.
        of: Topic name, for a table that several topics feed (``bronze.dead_letters``).
        snapshot_id: Snapshot to start from; None means the current one.

    Raises:
        ProgressLostError: No kept snapshot carries progress, but older ones were expired, so
            there may have been one. Starting from 0 would double every row.
    """
    last: Snapshot | None = None
    for snapshot in _ancestors(table, snapshot_id):
        if (progress := _from_summary(snapshot, of)) is not None:
            return progress
        last = snapshot
    if last is not None and not is_first(last):
        raise ProgressLostError(
            f"{'.'.join(table.name())} has lost the snapshot that carries its progress: its "
            f"history ends at {last.snapshot_id}. Make its snapshot expiry keep the newest "
            "snapshot with `lakehouse.` keys, and restore the table's metadata from before it."
        )
    return None


def is_first(snapshot: Snapshot) -> bool:
    """Tell whether a snapshot is the first that its table ever had."""
    # Java leaves the expired parent's id in place, PyIceberg clears it; but only a table's very
    # first snapshot has sequence number 1.
    return snapshot.parent_snapshot_id is None and (snapshot.sequence_number or 0) <= 1


def expirable_snapshots(
    table: Table, *, before: datetime, carries_progress: bool = True
) -> list[int]:
    """Return the snapshots that may be expired without losing progress or a pinned snapshot.

    These are ancestors of the current snapshot, older than ``before``, which no branch or tag
    names. The chain from the current snapshot down to the newest one that carries progress
    stays whole, because :func:`read_progress` walks it.

    Args:
        table: The table, freshly loaded.
        before: Younger snapshots stay.
        carries_progress: False for a table that no lander writes to.
    """
    pinned = {ref.snapshot_id for ref in table.metadata.refs.values()}
    limit_ms = int(before.timestamp() * 1000)
    carried = not carries_progress
    expirable = []
    for snapshot in _ancestors(table, None):
        if carried and snapshot.timestamp_ms < limit_ms and snapshot.snapshot_id not in pinned:
            expirable.append(snapshot.snapshot_id)
        carried = carried or _carries_progress(snapshot)
    # A table always keeps the snapshot that it is at.
    return [snapshot for snapshot in expirable if snapshot != table.metadata.current_snapshot_id]


def _carries_progress(snapshot: Snapshot) -> bool:
    entries = snapshot.summary.additional_properties if snapshot.summary else {}
    return any(key.startswith(f"{PREFIX}.") and key.endswith(".offsets") for key in entries)

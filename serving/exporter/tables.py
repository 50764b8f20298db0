"""Sources that read a table's newest state: how big it is, what was refused and set aside."""

from collections import Counter
from collections.abc import Iterator, Mapping

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table

import schemas
from lakehouse.poison import POISON_EVENTS
from serving.exporter import families as f
from serving.exporter.families import Family, Reading
from serving.exporter.lake import Round

DEAD_LETTERS_TABLE = "bronze.dead_letters"
# Keys of a snapshot's summary, which every engine keeps up to date.
_TOTALS: Mapping[str, Family] = {
    "total-data-files": f.FILES,
    "total-delete-files": f.DELETE_FILES,
    "total-files-size": f.BYTES,
    "total-records": f.RECORDS,
}
# A reason may come from a producer, who may make up any; each is a time series.
MOST_REASONS = 64
OTHER = "other"


def table_sizes(lake: Round) -> Iterator[Reading]:
    """Yield files, bytes, rows and snapshots of each table that has a contract."""
    for name in schemas.contracts():
        if (table := lake.table(name)) is None:
            continue
        yield Reading(f.SNAPSHOTS, (name,), len(table.metadata.snapshots))
        snapshot = table.current_snapshot()
        if snapshot is None or snapshot.summary is None:
            continue
        yield Reading(f.NEWEST_COMMIT, (name,), snapshot.timestamp_ms / 1000)
        summary = snapshot.summary.additional_properties
        for key, family in _TOTALS.items():
            if key in summary:
                yield Reading(family, (name,), float(summary[key]))


class DeadLetterCounts:
    """Counts dead letters by stage and reason; each data file is read once."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], Counter[tuple[str, str]]] = {}
        self._snapshot_id: int | None = None

    def __call__(self, lake: Round) -> Iterator[Reading]:
        """Yield the rows of ``bronze.dead_letters`` by stage and reason."""
        table = lake.table(DEAD_LETTERS_TABLE)
        snapshot = table.current_snapshot() if table else None
        if table is not None and snapshot is not None and snapshot.snapshot_id != self._snapshot_id:
            self._update(table)
            self._snapshot_id = snapshot.snapshot_id
        total: Counter[tuple[str, str]] = Counter()
        for counts in self._counts.values():
            total.update(counts)
        most = {key for key, _ in total.most_common(MOST_REASONS)}
        others: Counter[str] = Counter()
        for (stage, reason), rows in total.items():
            if (stage, reason) in most:
                yield Reading(f.DEAD_LETTERS, (stage, reason), rows)
            else:
                others[stage] += rows
        for stage, rows in others.items():
            yield Reading(f.DEAD_LETTERS, (stage, OTHER), rows)

    def _update(self, table: Table) -> None:
        scan = table.scan(selected_fields=("stage", "reason"))
        reader = ArrowScan(table.metadata, table.io, scan.projection(), AlwaysTrue())
        found = {}
        for task in scan.plan_files():
            # A file's rows change only by the deletes that apply to it.
            key = (task.file.file_path, *sorted(file.file_path for file in task.delete_files))
            found[key] = self._counts.get(key) or _count(reader.to_table([task]))
        self._counts = found


def poison(lake: Round) -> Iterator[Reading]:
    """Yield how many events of each topic were set aside; they are few, so all are looked at."""
    if (table := lake.table(POISON_EVENTS)) is None:
        return
    place = ("topic", "topic_generation", "kafka_partition", "kafka_offset")
    noted = table.scan(selected_fields=place).to_arrow()
    # One that was noted again after a crash is one.
    found = Counter(noted.group_by(list(place)).aggregate([])["topic"].to_pylist())
    for topic in schemas.landed_topics():
        yield Reading(f.POISON, (topic,), found[topic])


def _count(rows: pa.Table) -> Counter[tuple[str, str]]:
    counted = rows.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return Counter({(row["stage"], row["reason"]): row["count_all"] for row in counted})

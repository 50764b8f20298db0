"""What silver knows of a stream, and how far along the log: the live tier's past."""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import FileScanTask, Table

import schemas
from lakehouse.coverage import batch_coverage
from lakehouse.tracing import ROWS, describe_span, table_span
from serving.live.digits import instant
from serving.live.memory import Span
from serving.live.stream import Stream

# The speed layer commits a file a second: those of the last minutes say how far each partition is.
# Of a partition that had nothing in them, what batch has covered is known.
NEWEST_FILES = 100
# A batch run is an hour's.
COVERAGE_SECONDS = 60.0
_PLACE = ("log_partition", "last_offset")

Rows = Mapping[Span, list[dict[str, Any]]]


class History:
    """Reads the silver tables of one stream.

    Rows move from speed to batch, so the speed layer's own are read first (decision record 1).

    Args:
        catalog: The lake's catalog.
        stream: The stream.
        origin: The log position of offset 0 of its topic's present generation.
    """

    def __init__(self, catalog: Catalog, stream: Stream, origin: int) -> None:
        self._catalog, self._stream, self._origin = catalog, stream, origin
        self._batch = stream.history
        self._own = str(schemas.contract(stream.history).speed_twin)
        self._reach: dict[int, int] = {}
        self._by_file: dict[str, dict[int, int]] = {}
        self._coverage_at = float("-inf")

    def reach(self) -> dict[int, int]:
        """Return the log position of each partition up to which silver has seen everything.

        What is not known of is left out. It never goes back, though rows are pruned.
        """
        now = time.monotonic()
        if now - self._coverage_at >= COVERAGE_SECONDS:
            covered = batch_coverage(
                self._catalog, self._stream.dataset, self._stream.topic, self._origin
            )
            self._see({partition: first - 1 for partition, first in covered.items()})
            self._coverage_at = now
        table = self._catalog.load_table(self._own)
        projection = table.scan(selected_fields=_PLACE).projection()
        reader = ArrowScan(table.metadata, table.io, projection, AlwaysTrue())
        self._by_file = {
            file.file_path: self._by_file.get(file.file_path)
            or _last_of_each(reader.to_table([FileScanTask(file)]))
            for file in _newest(table, NEWEST_FILES)
        }
        for found in self._by_file.values():
            self._see(found)
        return dict(self._reach)

    def rows(self, spans: Collection[Span]) -> Rows:
        """Return every row that silver has of some spans: versions of a row are as many rows."""
        found: dict[Span, list[dict[str, Any]]] = {span: [] for span in spans}
        within = self._within(spans)
        openings = {span.group: span for span in spans if span.until is None}
        with table_span("read", self._batch):
            for table in (self._own, self._batch):
                for row in self._read(table, within):
                    group, start = self._stream.group_of(row), self._stream.minute_of(row)
                    for span in _candidates(group, start, openings):
                        if span in found:
                            found[span].append(row)
            describe_span({ROWS: sum(map(len, found.values()))})
        return found

    def _read(self, table: str, within: str) -> Iterator[dict[str, Any]]:
        fields = self._stream.recalled
        scan = self._catalog.load_table(table).scan(row_filter=within, selected_fields=fields)
        rows = scan.to_arrow()
        for batch in rows.to_batches():
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield dict(zip(rows.column_names, values, strict=True))

    def _within(self, spans: Collection[Span]) -> str:
        """Say which rows are of some spans, and perhaps more, so that files can be left out."""
        if not self._stream.relation.has_windows:
            return f"customer_id in ({_listed({span.group for span in spans})})"
        symbols = {span.group.split(":")[1] for span in spans}
        times = sorted({_between(span.since, span.until) for span in spans})
        return f"symbol in ({_listed(symbols)}) and ({' or '.join(times)})"

    def _see(self, positions: Mapping[int, int]) -> None:
        for partition, position in positions.items():
            if position >= self._origin:
                self._reach[partition] = max(position, self._reach.get(partition, position))


def _candidates(group: str, start: int, openings: Mapping[str, Span]) -> Iterator[Span]:
    """Yield the spans that a stretch of time of a group may be a part of."""
    opening = openings.get(group)
    if opening is not None and start >= opening.since:
        yield opening
    yield Span.of_minute(group, start)


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))  # the rules leave no quotes in them


def _between(since: int, until: int | None) -> str:
    after = f"event_time >= '{_literal(since)}'"
    return after if until is None else f"({after} and event_time < '{_literal(until)}')"


def _literal(time_us: int) -> str:
    return str(instant(time_us)).replace("Z", "+00:00")  # as the catalog's library reads it


def _newest(table: Table, count: int) -> list[DataFile]:
    """Return the files committed last: positions of two partitions do not compare."""
    snapshot = table.current_snapshot()
    entries = [
        entry
        for manifest in ([] if snapshot is None else snapshot.manifests(table.io))
        if manifest.content == ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(table.io)
    ]
    entries.sort(key=lambda entry: entry.sequence_number or 0)
    return [entry.data_file for entry in entries[-count:]]


def _last_of_each(rows: pa.Table) -> dict[int, int]:
    """Return the highest log position of each partition."""
    found = rows.group_by("log_partition").aggregate([("last_offset", "max")])
    return dict(zip(*(found[name].to_pylist() for name in found.column_names), strict=True))

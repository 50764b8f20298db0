"""What making tables anew would read and write, as the tables' own metadata tell: no engine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table import Table

from batch.dataset import Dataset, bronze_table
from batch.maintenance.sizes import size_of
from batch.references import Reference
from lakehouse.intervals import Interval

MIB = 1 << 20


@dataclass(frozen=True)
class Extent:
    """What reading a part of a table has to open.

    Attributes:
        rows: Rows of these files, of which some may be outside of the part.
        files: Data files.
        bytes: Their size together.
    """

    rows: int
    files: int
    bytes: int


def extent(table: Table, interval: Interval | None = None) -> Extent:
    """Measure what was ingested in an interval; all of the table without one."""
    within = (
        AlwaysTrue()
        if interval is None
        else (
            f"ingested_at >= '{interval.start.isoformat()}'"
            f" and ingested_at < '{interval.end.isoformat()}'"
        )
    )
    files = [task.file for task in table.scan(row_filter=within).plan_files()]
    return Extent(
        rows=sum(file.record_count for file in files),
        files=len(files),
        bytes=sum(file.file_size_in_bytes for file in files),
    )


def read_and_written(
    catalog: Catalog, datasets: Sequence[Dataset | Reference], interval: Interval | None = None
) -> Iterator[str]:
    """Tell, a line for each table, what is read and what is written to make datasets anew.

    Args:
        catalog: The lake's catalog.
        datasets: The datasets.
        interval: Ingestion times that are read; all without any.
    """
    for one in datasets:
        source = one.source if isinstance(one, Reference) else bronze_table(one)
        found = extent(catalog.load_table(source), interval)
        yield (
            f"reads {source}: {found.rows:,} rows in {found.files:,} files, "
            f"{found.bytes / MIB:,.1f} MiB"
        )
    for table in dict.fromkeys(table for one in datasets for table in one.tables):
        size = size_of(catalog.load_table(table))
        yield f"writes {table}: {size.files:,} files, {size.bytes / MIB:,.1f} MiB now"

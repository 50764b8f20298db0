"""What Iceberg's own procedures do to a table, each tried again when another writer is faster."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import Row, SparkSession

from batch.conflicts import committed
from batch.maintenance.partitions import Before
from lakehouse.catalog import CATALOG_NAME

# A partition with fewer small files is left alone until it has more: Iceberg's own default.
FEWEST_FILES = 5
# Nobody lists a file before its commit. This is longer than any commit takes, and Iceberg refuses
# less than a day.
ORPHAN_AGE = timedelta(days=1, minutes=1)
# Snapshots go by id; by age none does.
NEVER = "TIMESTAMP '1970-01-01 00:00:00+00:00'"


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: how many data files went in, and how many came out."""

    files: int = 0
    written: int = 0


@dataclass(frozen=True)
class Actions:
    """Iceberg's procedures on the tables of one lake."""

    spark: SparkSession

    def compact(self, table: str, *, where: Before | None, sort: bool) -> Compacted:
        """Put small files of each partition together; rows stay the same.

        Args:
            table: The table.
            where: Files with rows of this time are looked at; all when None.
            sort: Sort by the table's sort order, so that readers can leave files out.

        Raises:
            CommitConflictError: Other writers were faster for as long as the budget lasts.
        """
        named = {
            "strategy": f"'{'sort' if sort else 'binpack'}'",
            "options": f"map('min-input-files', '{FEWEST_FILES}')",
        }
        if where is not None:
            named["where"] = f'"{where.sql}"'
        row = self._call("rewrite_data_files", table, **named)
        return Compacted(row.rewritten_data_files_count, row.added_data_files_count)

    def rewrite_manifests(self, table: str) -> None:
        """Put manifests together, by partition.

        Raises:
            CommitConflictError: As `compact`.
        """
        self._call("rewrite_manifests", table, use_caching="false")

    def retire(self, table: str, where: Before) -> None:
        """Delete whole partitions of rows.

        Raises:
            CommitConflictError: As `compact`.
        """
        committed(
            self.spark,
            f"delete from {table}",
            f"DELETE FROM {CATALOG_NAME}.{table} WHERE {where.sql}",
        )

    def expire(self, table: str, snapshot_ids: Sequence[int]) -> int:
        """Expire snapshots, delete the files that only they led to, and return how many.

        Raises:
            CommitConflictError: As `compact`, or somebody has tagged one of them.
        """
        ids = ", ".join(f"{number}L" for number in snapshot_ids)
        row = self._call(
            "expire_snapshots", table, older_than=NEVER, snapshot_ids=f"array({ids})"
        ).asDict()
        return sum(count for name, count in row.items() if name.startswith("deleted_"))

    def remove_orphans(self, table: str, *, location: str, now: datetime, dry_run: bool) -> int:
        """Delete the files in a table's folder that no snapshot leads to; return how many.

        Args:
            table: The table.
            location: Its folder, with the scheme.
            now: The present, UTC; the age of a file is measured by nothing else.
            dry_run: Only count them.

        Raises:
            CommitConflictError: As `compact`.
        """
        older_than = (now - ORPHAN_AGE).isoformat()
        found = committed(
            self.spark,
            f"remove_orphan_files of {table}",
            _call(
                "remove_orphan_files",
                table,
                older_than=f"TIMESTAMP '{older_than}'",
                dry_run=str(dry_run).lower(),
                # An object store has no folders to walk through; a listing by prefix of a local
                # folder fails when a file vanishes, as metadata files do with every commit.
                prefix_listing=str(not location.startswith("file:")).lower(),
            ),
        )
        return len(found)

    def _call(self, procedure: str, table: str, **named: str) -> Row:
        (row,) = committed(self.spark, f"{procedure} of {table}", _call(procedure, table, **named))
        return row


def _call(procedure: str, table: str, **named: str) -> str:
    arguments = {"table": f"'{CATALOG_NAME}.{table}'"} | named
    given = ", ".join(f"{name} => {value}" for name, value in arguments.items())
    return f"CALL {CATALOG_NAME}.system.{procedure}({given})"

"""What upkeep did to one table, as it is shown and as ``ops.maintenance`` keeps it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from batch.conflicts import CommitConflictError
from batch.maintenance.sizes import TableSize


class Outcome(StrEnum):
    """What became of a table's upkeep."""

    DONE = "DONE"
    PUT_OFF = "PUT_OFF"
    FAILED = "FAILED"
    PLANNED = "PLANNED"
    """Nothing was done: it was asked only what would be."""


@dataclass
class Report:
    """What was done to one table, or would be.

    Attributes:
        table: Its name.
        before: Its size before.
        after: Its size after; None when only asked, or when it failed.
        refs_dropped: Branches and tags of runs that ended or died, and those of old quarantines.
        files_retired: Data files whose rows had reached the contract's retention.
        retired_before: Partitions before this time were deleted.
        files_compacted: Data files that were put together; of a plan, those that would be.
        files_written: Data files that they became.
        snapshots_expired: Snapshots that became too old to be read.
        files_deleted: Files that only these had led to.
        orphans_deleted: Files that nothing led to.
        put_off: What was left to a later run, and why; what failed.
        outcome: All in a word.
    """

    table: str
    before: TableSize
    after: TableSize | None = None
    refs_dropped: tuple[str, ...] = ()
    files_retired: int = 0
    retired_before: datetime | None = None
    files_compacted: int = 0
    files_written: int = 0
    snapshots_expired: int = 0
    files_deleted: int = 0
    orphans_deleted: int = 0
    put_off: list[str] = field(default_factory=list)
    outcome: Outcome = Outcome.DONE

    @contextmanager
    def putting_off(self) -> Iterator[None]:
        """Put off what cannot be committed because other writers are faster."""
        try:
            yield
        except CommitConflictError as error:
            self.put_off.append(str(error))


def to_row(
    report: Report, run_id: str, *, started_at: datetime, as_of: datetime
) -> dict[str, object]:
    """Return a report's row in ``ops.maintenance``."""
    after = asdict(report.after) if report.after else {}
    return {
        "run_id": run_id,
        "table_name": report.table,
        "as_of": as_of,
        "outcome": report.outcome.value,
        **{f"{name}_before": value for name, value in asdict(report.before).items()},
        **{f"{name}_after": value for name, value in after.items()},
        "files_compacted": report.files_compacted,
        "files_written": report.files_written,
        "files_retired": report.files_retired,
        "retired_before": report.retired_before,
        "snapshots_expired": report.snapshots_expired,
        "files_deleted": report.files_deleted,
        "orphans_deleted": report.orphans_deleted,
        "refs_dropped": json.dumps(report.refs_dropped),
        "detail": "; ".join(report.put_off) or None,
        "started_at": started_at,
        "recorded_at": datetime.now(UTC),
    }

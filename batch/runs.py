"""The run log, ``ops.runs``: what ran over which interval, and what came of it."""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pyiceberg.catalog import Catalog

from lakehouse.audit_trail import append_rows
from lakehouse.intervals import Interval

RUNS = "ops.runs"


class Status(StrEnum):
    """How far a run has come, in this order."""

    STARTED = "STARTED"
    BUILT = "BUILT"
    PUBLISHED = "PUBLISHED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Run:
    """One execution of a step over a data interval.

    Attributes:
        cause: What it is part of, such as a backfill.
    """

    kind: str
    dataset: str
    interval: Interval
    business_hours: tuple[datetime, ...]
    # What happened when is bookkeeping about the run; no result depends on it.
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    cause: str | None = None


@dataclass(frozen=True)
class RunState:
    """What the log says of one run.

    Attributes:
        run_id: Its id.
        recorded_at: When its newest row was written.
        has_ended: It published or failed.
        snapshots: By table, the snapshot that it reads.
    """

    run_id: str
    recorded_at: datetime
    has_ended: bool
    snapshots: Mapping[str, int]


@dataclass(frozen=True)
class Recorded:
    """What was last recorded of one run, and when."""

    run: Run
    status: Status
    recorded_at: datetime


class RunLog:
    """Appends to and reads ``ops.runs``."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def record(
        self,
        run: Run,
        status: Status,
        *,
        snapshots: Mapping[str, int | None] | None = None,
        offsets: Mapping[str, tuple[int, int]] | None = None,
        rows_written: int | None = None,
        conflicts: int | None = None,
        detail: str | None = None,
    ) -> None:
        """Append what is known of a run now."""
        row = {
            "run_id": run.run_id,
            "kind": run.kind,
            "dataset": run.dataset,
            "cause": run.cause,
            "interval_start": run.interval.start,
            "interval_end": run.interval.end,
            "status": status.value,
            "business_hours": json.dumps([hour.isoformat() for hour in run.business_hours]),
            "offsets": json.dumps(offsets) if offsets is not None else None,
            "snapshots": json.dumps(snapshots) if snapshots is not None else None,
            "rows_written": rows_written,
            "conflicts": conflicts,
            "detail": detail,
            "started_at": run.started_at,
            "recorded_at": datetime.now(UTC),
        }
        append_rows(self._catalog, RUNS, [row])

    def latest_ends(self, run: Run) -> dict[datetime, datetime]:
        """Return, by business hour, the latest end of the dataset's runs that reach beyond a run.

        Runs that only started count: one that published nothing did no harm by counting, one that
        published and then died before it said so must count.
        """
        end = run.interval.end
        rows = (
            self._catalog.load_table(RUNS)
            .scan(
                row_filter=f"{_of(run.kind, run.dataset)} and interval_end > '{end.isoformat()}'",
                selected_fields=("interval_end", "business_hours"),
            )
            .to_arrow()
            .to_pylist()
        )
        latest: dict[datetime, datetime] = {}
        for row in rows:
            for hour in map(datetime.fromisoformat, json.loads(row["business_hours"])):
                latest[hour] = max(row["interval_end"], latest.get(hour, end))
        return latest

    def published_for(self, cause: str) -> set[tuple[str, Interval]]:
        """Return the datasets and intervals of the runs that were published for a cause."""
        rows = (
            self._catalog.load_table(RUNS)
            .scan(
                row_filter=f"cause = '{cause}' and status = '{Status.PUBLISHED}'",
                selected_fields=("dataset", "interval_start", "interval_end"),
            )
            .to_arrow()
            .to_pylist()
        )
        return {
            (row["dataset"], Interval(row["interval_start"], row["interval_end"])) for row in rows
        }

    def reach(self, kind: str, dataset: str, status: Status) -> datetime | None:
        """Return the latest end of a dataset's runs that came as far as a status; None without any.

        Every run has started. One that failed may have published some of its tables.
        """
        runs = self.newest(kind, dataset)
        is_meant = [one.run for one in runs if status in (Status.STARTED, one.status)]
        return max((run.interval.end for run in is_meant), default=None)

    def newest(self, kind: str, dataset: str) -> list[Recorded]:
        """Return what was last recorded of each of a dataset's runs, oldest first."""
        columns = ("run_id", "cause", "status", "interval_start", "interval_end", "business_hours")
        rows = self._scan(_of(kind, dataset), *columns, "started_at", "recorded_at")
        last = {row["run_id"]: row for row in sorted(rows, key=_progress)}
        return [
            Recorded(
                Run(
                    kind,
                    dataset,
                    Interval(row["interval_start"], row["interval_end"]),
                    tuple(map(datetime.fromisoformat, json.loads(row["business_hours"]))),
                    started_at=row["started_at"],
                    run_id=row["run_id"],
                    cause=row["cause"],
                ),
                Status(row["status"]),
                row["recorded_at"],
            )
            for row in last.values()
        ]

    def newest_end(self, run: Run) -> datetime:
        """Return the latest end of the dataset's runs, that of a run included, begun or done."""
        rows = self._scan(_of(run.kind, run.dataset), "interval_end")
        ends: list[datetime] = [row["interval_end"] for row in rows]
        return max([run.interval.end, *ends])

    def newest_snapshot(self, kind: str, dataset: str, table: str) -> int | None:
        """Return the snapshot of a table that a dataset's last published run has read.

        None without any, and after a swap of versions, which does not say.
        """
        published = f"{_of(kind, dataset)} and status = '{Status.PUBLISHED}'"
        rows = self._scan(published, "recorded_at", "snapshots")
        if not rows:
            return None
        last = max(rows, key=lambda row: row["recorded_at"])
        snapshot: int | None = json.loads(last["snapshots"] or "{}").get(table)
        return snapshot

    def _scan(self, row_filter: str, *columns: str) -> list[dict[str, Any]]:
        scan = self._catalog.load_table(RUNS).scan(row_filter=row_filter, selected_fields=columns)
        rows: list[dict[str, Any]] = scan.to_arrow().to_pylist()
        return rows

    def states(self) -> dict[str, RunState]:
        """Return what the log says of every run, by id."""
        columns = ("run_id", "status", "snapshots", "recorded_at")
        rows = self._catalog.load_table(RUNS).scan(selected_fields=columns).to_arrow().to_pylist()
        by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            by_run[row["run_id"]].append(row)
        return {run_id: _state(run_id, found) for run_id, found in by_run.items()}

    def unpublished(self, kind: str, dataset: str, interval: Interval) -> list[Interval]:
        """Return the parts of an interval that no published run covers, in order."""
        rows = (
            self._catalog.load_table(RUNS)
            .scan(
                row_filter=f"{_of(kind, dataset)} and status = '{Status.PUBLISHED}'"
                f" and interval_start < '{interval.end.isoformat()}'"
                f" and interval_end > '{interval.start.isoformat()}'",
                selected_fields=("interval_start", "interval_end"),
            )
            .to_arrow()
            .to_pylist()
        )
        return gaps(
            interval, [Interval(row["interval_start"], row["interval_end"]) for row in rows]
        )


def gaps(interval: Interval, covered: Iterable[Interval]) -> list[Interval]:
    """Return the parts of an interval that none of some others covers, in order."""
    found, reached = [], interval.start
    for one in sorted(covered):
        if one.start > reached:
            found.append(Interval(reached, min(one.start, interval.end)))
        reached = max(reached, one.end)
        if reached >= interval.end:
            return found
    return [*found, Interval(reached, interval.end)]


def _progress(row: Mapping[str, Any]) -> tuple[int, datetime]:
    """Return how far a run had come by a row, and when: a clock may step back in between."""
    return [*Status].index(Status(row["status"])), row["recorded_at"]


def _of(kind: str, dataset: str) -> str:
    return f"kind = '{kind}' and dataset = '{dataset}'"


def _state(run_id: str, rows: Sequence[Mapping[str, Any]]) -> RunState:
    snapshots: dict[str, int] = {}
    for row in rows:
        read = json.loads(row["snapshots"] or "{}")
        snapshots |= {table: number for table, number in read.items() if number is not None}
    return RunState(
        run_id=run_id,
        recorded_at=max(row["recorded_at"] for row in rows),
        has_ended=any(row["status"] != Status.STARTED for row in rows),
        snapshots=snapshots,
    )

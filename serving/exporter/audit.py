"""Sources that read the audit tables: what batch ran, what reconciliation found, what upkeep did.

Batch jobs end before anybody could ask them. What they know is in ``ops``, so it is told from
there, by a process that stays.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from prometheus_client.core import Metric
from pyiceberg.table import Table

from lakehouse.histograms import ArrayHistogram
from serving.exporter import families as f
from serving.exporter.audit_rows import WINDOW, AuditRows
from serving.exporter.families import Reading
from serving.exporter.lake import Round

RUNS, RECONCILIATIONS, MAINTENANCE = "ops.runs", "ops.reconciliations", "ops.maintenance"
MODEL_CHECKS = "ops.model_checks"
PUBLISHED, FAILED, AGREE = "PUBLISHED", "FAILED", "AGREE"
# Files come rarely, and a run of them is recorded only when some came: the last one may be a year
# ago, and nothing is missing.
REFERENCE = "reference"
# Runs of what is made of batch's tables, and not of bronze.
DERIVED = "derived"
# From an idle hour to a day's backfill.
RUN_BUCKETS = (5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_STATES = {
    "compared": "rows_compared",
    "drifted": "rows_drifted",
    "missing_in_batch": "missing_in_batch",
    "batch_ahead": "batch_ahead",
    "speed_ahead": "speed_ahead",
    "only_in_batch": "only_in_batch",
    "only_in_speed": "only_in_speed",
    "pruned": "pruned",
}
_ACTIONS = {
    "compacted": "files_compacted",
    "written": "files_written",
    "retired": "files_retired",
    "deleted": "files_deleted",
    "orphans_deleted": "orphans_deleted",
}

_Span = tuple[datetime, datetime]


class Runs:
    """Tells of ``ops.runs``.

    Attributes:
        seconds: How long the runs took that this exporter has seen end.
    """

    def __init__(self) -> None:
        identity = ("run_id", "kind", "dataset", "status", "started_at")
        interval = ("interval_start", "interval_end")
        self._rows = AuditRows(
            RUNS,
            (*identity, *interval, "rows_written", "conflicts", "snapshots"),
            also=f"kind = '{REFERENCE}'",
        )
        self._counted: set[tuple[str, str]] = set()
        self._through: dict[tuple[str, str], datetime] = {}
        self._sources: dict[str, str] = {}
        self.seconds = ArrayHistogram(
            f.RUN_SECONDS_NAME,
            "How long runs took, from start to end: those of the last month, and since.",
            ("kind", "dataset", "status"),
            buckets=RUN_BUCKETS,
            registry=None,
        )

    def __call__(self, lake: Round) -> Iterator[Reading]:
        """Yield what is known of each job's runs, by dataset."""
        table = lake.table(RUNS)
        if table is None:
            return
        published: dict[tuple[str, str], dict[str, Any]] = {}
        ended: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self._read(table):
            if row["status"] == PUBLISHED:
                published[_of(row)] = row
            if row["status"] in (PUBLISHED, FAILED):
                ended[_of(row)] = row
        for of, row in ended.items():
            yield Reading(f.RUN_FAILED, of, row["status"] == FAILED)
        for of, row in published.items():
            yield Reading(f.RUN_SUCCESS, of, row["recorded_at"].timestamp())
            yield Reading(f.RUN_DURATION, of, _seconds_of(row))
            yield Reading(f.RUN_THROUGH, of, self._through[of].timestamp())
            yield Reading(f.RUN_ROWS, of, row["rows_written"] or 0)
            yield Reading(f.RUN_CONFLICTS, of, row["conflicts"] or 0)

    def published_through(self, table: Table) -> dict[str, datetime]:
        """Return, by table of bronze, up to when all that was ingested is in what batch published.

        An hour of the last month that was left out ends that, however many were published since.
        Files are read whole: of them the newest run counts.

        Args:
            table: ``ops.runs``, freshly loaded.
        """
        spans: dict[tuple[str, str], list[_Span]] = defaultdict(list)
        for row in self._read(table):
            if row["status"] == PUBLISHED:
                spans[_of(row)].append((row["interval_start"], row["interval_end"]))
        return {
            self._sources[of[1]]: newest if of[0] == REFERENCE else _unbroken(spans[of], newest)
            for of, newest in self._through.items()
            if of[0] != DERIVED and of[1] in self._sources
        }

    def derived_through(self, table: Table, dataset: str) -> datetime | None:
        """Return the end of the latest interval that was published of a derived dataset.

        Args:
            table: ``ops.runs``, freshly loaded.
            dataset: Its name, such as ``features``.
        """
        self._read(table)
        return self._through.get((DERIVED, dataset))

    def collect(self) -> Iterator[Metric]:
        """Yield the durations."""
        yield from self.seconds.collect()

    def _read(self, table: Table) -> list[dict[str, Any]]:
        rows = self._rows.of(table)
        for row in rows:
            if row["status"] in (PUBLISHED, FAILED):
                self._count(row)
            if row["status"] == PUBLISHED:
                end, of = row["interval_end"], _of(row)
                self._through[of] = max(end, self._through.get(of, end))
            # Not every row says so, but that of a run, or of a build, that has started does.
            for source in json.loads(row["snapshots"] or "{}"):
                self._sources[row["dataset"]] = source
        return rows

    def _count(self, row: dict[str, Any]) -> None:
        if (key := (row["run_id"], row["status"])) not in self._counted:
            self._counted.add(key)
            self.seconds.observe(np.asarray([_seconds_of(row)]), *_of(row), row["status"])


class Reconciliations:
    """Tells of ``ops.reconciliations``."""

    def __init__(self, tables: Iterable[str]) -> None:
        columns = ("table_name", *_STATES.values(), "oldest_unreconciled_age_seconds", "verdict")
        self._rows = AuditRows(RECONCILIATIONS, columns)
        self._tables = tuple(tables)

    def __call__(self, lake: Round) -> Iterator[Reading]:
        """Yield what the last reconciliation of each table found, and when they last agreed."""
        table = lake.table(RECONCILIATIONS)
        if table is None:
            return
        rows = self._rows.of(table)
        latest = {row["table_name"]: row for row in rows}
        agreed = {row["table_name"]: row for row in rows if row["verdict"] == AGREE}
        for name, row in latest.items():
            for state, column in _STATES.items():
                yield Reading(f.RECONCILED_ROWS, (name, state), row[column])
            yield Reading(f.AGREES, (name,), row["verdict"] == AGREE)
            age = row["oldest_unreconciled_age_seconds"]
            yield Reading(f.UNRECONCILED_AGE, (name,), 0.0 if age is None else age)
        for name, row in agreed.items():
            yield Reading(f.RECONCILED_AT, (name,), row["recorded_at"].timestamp())
        for name in self._tables:
            since = agreed[name]["recorded_at"].timestamp() if name in agreed else made_at(table)
            yield Reading(f.RECONCILIATION_AGE, (name,), since, is_moment=True)


class Upkeep:
    """Tells of ``ops.maintenance``."""

    def __init__(self) -> None:
        self._rows = AuditRows(MAINTENANCE, ("table_name", "outcome", *_ACTIONS.values()))

    def __call__(self, lake: Round) -> Iterator[Reading]:
        """Yield what the last upkeep of each table did."""
        table = lake.table(MAINTENANCE)
        if table is None:
            return
        latest = {row["table_name"]: row for row in self._rows.of(table)}
        for name, row in latest.items():
            yield Reading(f.MAINTAINED_AT, (name,), row["recorded_at"].timestamp())
            yield Reading(f.MAINTENANCE_FAILED, (name,), row["outcome"] == FAILED)
            for action, column in _ACTIONS.items():
                yield Reading(f.MAINTENANCE_FILES, (name, action), row[column])


class ModelChecks:
    """Tells of ``ops.model_checks``."""

    def __init__(self) -> None:
        self._rows = AuditRows(
            MODEL_CHECKS, ("business_date", "model", "version", "measure", "subject", "value")
        )

    def __call__(self, lake: Round) -> Iterator[Reading]:
        """Yield what was found of the newest day that was measured, for each model."""
        table = lake.table(MODEL_CHECKS)
        if table is None:
            return
        rows = self._rows.of(table)
        newest: dict[str, tuple[Any, int]] = {}
        for row in rows:
            day = (row["business_date"], row["version"])
            newest[row["model"]] = max(day, newest.get(row["model"], day))
        found = {
            (row["model"], row["measure"], row["subject"]): row["value"]
            for row in rows
            if (row["business_date"], row["version"]) == newest[row["model"]]
        }
        for labels, value in found.items():
            yield Reading(f.MODEL_CHECK, labels, value)


def made_at(table: Table) -> float:
    """Return when the oldest metadata file that a table still names was written.

    Of a table with a short history, such as an audit table that holds no row, that is when it was
    made; of one with a long history some time later.
    """
    history = table.metadata.metadata_log
    return (history[0].timestamp_ms if history else table.metadata.last_updated_ms) / 1000


def _unbroken(spans: Iterable[_Span], newest: datetime) -> datetime:
    """Return where the first gap of the last month begins; the newest end if there is none."""
    since = datetime.now(UTC) - WINDOW  # whatever ended since then has its row since then, too
    reached: datetime | None = None
    for start, end in sorted(span for span in spans if span[1] > since):
        if reached is not None and start > reached:
            return reached
        reached = end if reached is None else max(reached, end)
    return newest


def _of(row: dict[str, Any]) -> tuple[str, str]:
    return row["kind"], row["dataset"] or ""


def _seconds_of(row: dict[str, Any]) -> float:
    seconds: float = (row["recorded_at"] - row["started_at"]).total_seconds()
    return seconds

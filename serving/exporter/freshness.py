"""Sources that compare what the log holds with what readers see.

Fresh is a table that shows all that is to be shown, however long ago the last event came. So a
table's freshness is the age of the oldest event that it does not show, and 0 when there is none.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from pyiceberg.table import Table

import schemas
from lakehouse.kafka import DEAD_LETTERS_TOPIC
from lakehouse.progress import read_progress
from serving.exporter import families as f
from serving.exporter.audit import RUNS, Runs, made_at
from serving.exporter.families import Reading
from serving.exporter.lake import Round
from serving.views import reads, view_names

DEAD_LETTERS = "bronze.dead_letters"
# Where nothing waits: the time since then is 0.
NEVER = math.inf
# Made by runs of their own, of what batch's have published; by table, of which dataset these are.
_DERIVED = {"gold.features_1m": "features"}
# What shows how far a table has come: the topic, and its qualifier in the snapshot's summary.
_LANDED = {table: (topic, None) for topic, table in schemas.landed_topics().items()} | {
    DEAD_LETTERS: (DEAD_LETTERS_TOPIC, DEAD_LETTERS_TOPIC)
}


def contracts(_lake: Round) -> Iterator[Reading]:
    """Yield what the contracts promise, and which tables each view merges."""
    for name, contract in schemas.contracts().items():
        yield Reading(f.CONTRACT_FRESHNESS, (name,), contract.freshness_seconds)
    for view in view_names():
        for table in map(schemas.contract, sorted(reads(view) - set(view_names()))):
            if table.speed_twin or table.batch_twin:
                yield Reading(f.VIEW_SOURCE, (view, table.name, table.batch_twin or table.name), 1)


def landed(lake: Round) -> Iterator[Reading]:
    """Yield how far bronze is behind the log, in events and in time."""
    for name, (topic, qualifier) in _LANDED.items():
        # In this order: what lands in between makes the table look fresh, which by then it is.
        ends = lake.log.ends(topic)
        for partition, end in ends.items():
            yield Reading(f.LOG_END, (topic, str(partition)), end)
        table = lake.table(name)
        progress = read_progress(table, of=qualifier) if table else None
        done = progress.offsets if progress else {}
        missing = {p: done.get(p, 0) for p, end in ends.items() if end > done.get(p, 0)}
        behind = sum(ends[p] - at for p, at in missing.items())
        yield Reading(f.TABLE_LAG, (name, topic), behind)
        if missing:
            oldest = min(lake.log.appended_at(topic, missing))
            yield Reading(f.FRESHNESS, (name,), oldest, is_moment=True)
        else:
            yield Reading(f.FRESHNESS, (name,), 0)


class Covered:
    """Tells how long batch has left landed events alone; bronze's manifests tell of the newest."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def __call__(self, lake: Round) -> Iterator[Reading]:
        """Yield the freshness of the tables that batch writes, each by what it is made of.

        Nothing is told of a table while nothing has landed that it could be made of; nor of one
        that is derived before its first run, since an installation need not have any.
        """
        runs = lake.table(RUNS)
        if runs is None:
            return
        contracts = schemas.contracts().values()
        sources = {source for contract in contracts for source in contract.sources}
        newest = dict(_newest_ingestions(lake, sources))
        through = self._runs.published_through(runs)
        for contract in contracts:
            ends = {source: through.get(source) for source in contract.sources if source in newest}
            if dataset := _DERIVED.get(contract.name):
                end = self._runs.derived_through(runs, dataset)
                ends = dict.fromkeys(ends, end) if end else {}
            moments = [_waiting_since(newest[source], end, runs) for source, end in ends.items()]
            if moments:
                yield Reading(f.FRESHNESS, (contract.name,), min(moments), is_moment=True)


def _waiting_since(newest: datetime, end: datetime | None, runs: Table) -> float:
    """Return since when some of what has landed waits for runs that have come to ``end``."""
    if end is None:
        return made_at(runs)
    return end.timestamp() if newest >= end else NEVER


def _newest_ingestions(lake: Round, sources: Iterable[str]) -> Iterator[tuple[str, datetime]]:
    """Yield the tables of bronze that hold events, each with its latest ``ingested_at``."""
    for source in sources:
        bronze = lake.table(source)
        newest = _newest_ingestion(bronze) if bronze else None
        if newest is not None:
            yield source, newest


def _newest_ingestion(bronze: Table) -> datetime | None:
    """Return the latest ``ingested_at``, from the bounds that the newest data files state."""
    snapshot = bronze.current_snapshot()
    if snapshot is None:
        return None
    column = bronze.schema().find_field("ingested_at")
    manifests = snapshot.manifests(bronze.io)
    for manifest in sorted(manifests, key=lambda m: m.sequence_number, reverse=True):
        bounds = [
            entry.data_file.upper_bounds[column.field_id]
            for entry in manifest.fetch_manifest_entry(bronze.io)
            if column.field_id in (entry.data_file.upper_bounds or {})
        ]
        if bounds:
            microseconds = max(_timestamp(bound) for bound in bounds)
            return datetime.fromtimestamp(microseconds / 1_000_000, UTC)
    return None


def _timestamp(bound: bytes) -> int:
    return int.from_bytes(bound, "little", signed=True)  # as Iceberg writes a timestamp

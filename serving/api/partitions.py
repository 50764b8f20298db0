"""How far along the log the rows of an answer are, by partition.

A row states its position, but views do not show of which partition. All events of an instrument, or
of a customer, are in one partition, which stays the same for the life of a topic: it is asked for
once, and the positions are taken from the rows themselves, so that they never claim more.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from cachetools import TTLCache
from sqlglot import exp

import schemas
from serving.api.asking import Value
from serving.api.query import between, column_of, table_of
from serving.api.relations import LAST_OFFSET, Relation
from serving.views import MINUTES

LOG_PARTITION = "log_partition"
_MINUTE = "window_start"
# A new version of a topic has other partitions: a matter of planned work, and of minutes.
REMEMBERED_SECONDS = 600.0
MOST_KEYS = 100_000

Key = tuple[str, tuple[str, ...]]
Bounds = Mapping[str, tuple[Value, Value]]


class Partitions:
    """Remembers which partition the rows of a key come from; threads may share it."""

    def __init__(self) -> None:
        self._known: TTLCache[Key, int] = TTLCache(MOST_KEYS, REMEMBERED_SECONDS)
        self._lock = Lock()

    def offsets(
        self,
        relation: Relation,
        rows: pa.Table,
        run: Callable[[exp.Select], pa.Table] | None = None,
    ) -> dict[str, int]:
        """Return the highest log position of the rows, by partition.

        Args:
            relation: What the rows are of.
            rows: The rows of a page.
            run: Runs a query over the lake as it is; without it, what is not known is left out.
        """
        if not relation.is_merged or not rows.num_rows:
            return {}
        names = list(relation.routed_by)
        seen = rows.group_by(names).aggregate([(LAST_OFFSET, "max")]).to_pylist()
        highest = {
            (relation.contract, tuple(row[name] for name in names)): row[f"{LAST_OFFSET}_max"]
            for row in seen
        }
        found: dict[str, int] = {}
        for key, partition in self._partitions(relation, rows, set(highest), run).items():
            found[str(partition)] = max(highest[key], found.get(str(partition), highest[key]))
        return dict(sorted(found.items()))

    def learn(
        self, relation: Relation, rows: Iterable[tuple[Mapping[str, Any], int]]
    ) -> dict[Key, int]:
        """Take in from which partition some rows come; return that by their keys."""
        told = {
            (relation.contract, tuple(row[name] for name in relation.routed_by)): partition
            for row, partition in rows
        }
        with self._lock:
            self._known.update(told)
        return told

    def _partitions(
        self,
        relation: Relation,
        rows: pa.Table,
        keys: set[Key],
        run: Callable[[exp.Select], pa.Table] | None,
    ) -> dict[Key, int]:
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
        if run is not None and keys - set(known):
            told = run(partitions_query(relation, _bounds(relation, rows))).to_pylist()
            known |= self.learn(relation, [(row, row[LOG_PARTITION]) for row in told])
        return {key: known[key] for key in keys if key in known}


def partitions_query(relation: Relation, bounds: Bounds) -> exp.Select:
    """Return the query of the partition that each key's newest row comes from.

    Args:
        relation: A merged view.
        bounds: The least and the greatest value that rows have, by the columns of their order.
    """
    within = dict(bounds)
    source = schemas.contract(relation.contract if relation.minutes is None else MINUTES)
    if relation.minutes is not None and relation.time is not None:
        first, last = (_start_of(moment) for moment in within.pop(relation.time))
        within[_MINUTE] = first, last + relation.minutes - timedelta(microseconds=1)
    conditions = [between(column, *values) for column, values in within.items()]
    columns = [*relation.routed_by, LOG_PARTITION, LAST_OFFSET]
    tables = [source.name, *([source.speed_twin] if source.speed_twin else [])]
    selects = [
        exp.select(*(column_of(name) for name in columns))
        .from_(table_of(table))
        .where(*(condition.copy() for condition in conditions))
        for table in tables
    ]
    both = selects[0] if len(selects) == 1 else exp.union(*selects, distinct=False)
    newest = exp.ArgMax(this=column_of(LOG_PARTITION), expression=column_of(LAST_OFFSET))
    keys = [column_of(name) for name in relation.routed_by]
    return (
        exp.select(*keys, exp.alias_(newest, LOG_PARTITION))
        .from_(both.subquery("rows_of_both"))
        .group_by(*(key.copy() for key in keys))
    )


def _bounds(relation: Relation, rows: pa.Table) -> dict[str, tuple[Any, Any]]:
    found = {}
    for name in (part.removeprefix("-") for part in relation.order):
        least_and_greatest = pc.min_max(rows[name]).as_py()
        found[name] = least_and_greatest["min"], least_and_greatest["max"]
    return found


def _start_of(moment: Value) -> datetime:
    assert isinstance(moment, date)  # noqa: S101 - rolled-up rows are of a time
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time.min, UTC)

"""The third tier as the API reads it: the rows that the live tier holds in memory."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from heapq import nsmallest
from operator import itemgetter
from typing import Any, Protocol

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.types import DateType, DecimalType, TimestamptzType

from serving.api import problems
from serving.api.answers import Answer, Meta
from serving.api.asking import Ask
from serving.api.paging import Place, cursor_after, order_columns, place_of
from serving.api.problems import ProblemError
from serving.api.relations import OutColumn
from serving.live.progress import Progress
from serving.live.relations import LiveRow

# A live tier that tells of no progress for so long is away.
STALE_SECONDS = 30.0


class LiveRows(Protocol):
    """What the API needs of `serving.live_rows.store.LiveStore`."""

    def newest(
        self, relation: str, prefix: str = "", *, wanted: Callable[[LiveRow], bool] = ...
    ) -> list[LiveRow]:
        """Return the newest row of each key of a relation, tombstones too."""
        ...

    def whole_after(self, relation: str) -> datetime | None:
        """Return the last minute of which rows may have been forgotten; None for none."""
        ...

    def subscribe(
        self,
        relations: Collection[str],
        *,
        wanted: Callable[[LiveRow], bool] = ...,
        after: Mapping[str, int] | None = None,
        pause_seconds: float = ...,
    ) -> AsyncIterator[LiveRow]:
        """Yield rows as they change, without end."""
        ...

    def progress(self, relation: str) -> Progress | None:
        """Return how far the live tier had read when it last said so."""
        ...

    def age_seconds(self, relation: str) -> float | None:
        """Return the greatest age of an event that the rows do not tell yet."""
        ...

    def silent_seconds(self, *relations: str) -> float | None:
        """Return for how long the live tier has not told how far it has read."""
        ...


def is_running(live: LiveRows | None, *relations: str) -> bool:
    """Tell whether a live tier has told of its progress lately, however little that is."""
    silent = None if live is None else live.silent_seconds(*relations)
    return silent is not None and silent < STALE_SECONDS


def live_answer(live: LiveRows | None, ask: Ask, *, degraded: str | None = None) -> Answer:
    """Return a page of the rows that the live tier holds; takes its time, so not on the loop.

    Args:
        live: The live tier's rows, if they are followed.
        ask: What is asked for, of a relation that it keeps.
        degraded: Why it answers for another tier, where it does.

    Raises:
        ProblemError: The live tier is not running, or the cursor is none of this query.
    """
    name = ask.relation.live
    if live is None or name is None or not is_running(live, name):
        raise ProblemError(
            problems.NO_LIVE_TIER,
            "the live tier has told of no progress lately: `lakehouse status` tells whether it "
            "runs; the tiers merged and reconciled do without it",
            headers={"Retry-After": "5"},
        )
    rows = ((place, row) for place, row in asked_rows(live, ask) if not row.is_tombstone)
    first = nsmallest(ask.limit + 1, rows, key=itemgetter(0))
    page = [typed_row(ask, row) for _, row in first[: ask.limit]]
    progress = live.progress(name)
    meta = Meta(
        tier="live",
        as_of=None,
        freshness_seconds=live.age_seconds(name),
        offsets={} if progress is None else {str(p): o for p, o in progress.positions.items()},
        status={"PROVISIONAL": len(page)} if page else {},
        degraded=degraded,
    )
    table = pa.Table.from_pylist(page, schema=arrow_schema(ask.relation.columns))
    more = len(first) > len(page)
    return Answer(table, cursor_after(ask, page[-1]) if more else None, meta)


def asked_rows(live: LiveRows, ask: Ask) -> Iterator[tuple[Place, LiveRow]]:
    """Yield the live rows that are asked for, tombstones too, each with its place in the order.

    Args:
        live: The live tier's rows.
        ask: What is asked for, of a relation that it keeps.

    Raises:
        ProblemError: The cursor is none of this query.
    """
    relation, after = ask.relation, place_of(ask)
    order = [relation.column(name) for name in order_columns(relation)]
    wanted = partial(_is_asked_for, ask)
    for row in live.newest(str(relation.live), _prefix(ask), wanted=wanted):
        place = tuple(_value(column, row.values[column.name]) for column in order)
        if after is None or place > after:
            yield place, row


def typed_row(ask: Ask, row: LiveRow) -> dict[str, Any]:
    """Return a row with the columns of an answer; what views join to it is unknown."""
    shown = row.shown()
    return {column.name: _value(column, shown.get(column.name)) for column in ask.relation.columns}


def arrow_schema(columns: tuple[OutColumn, ...]) -> pa.Schema:
    """Return the Arrow types of an answer's columns."""
    return pa.schema(pa.field(column.name, schema_to_pyarrow(column.type)) for column in columns)


def _prefix(ask: Ask) -> str:
    """Return what the keys of all rows begin with that may be asked for."""
    named, prefix = dict(ask.named), ""
    for column in order_columns(ask.relation):
        values = named.get(column, ())
        if len(values) != 1:
            break
        prefix += f"{values[0]}:"
    return prefix


def _is_asked_for(ask: Ask, row: LiveRow) -> bool:
    said, relation = row.values, ask.relation
    if any(said[column] not in values for column, values in ask.named):
        return False
    if relation.time is None or (ask.start is None and ask.end is None):
        return True
    moment = _value(relation.column(relation.time), said[relation.time])
    return (ask.start is None or ask.start <= moment) and (ask.end is None or moment < ask.end)


def _value(column: OutColumn, spelled: Any) -> Any:
    if spelled is None:
        return None
    match column.type:
        case DecimalType():
            return Decimal(spelled)
        case TimestamptzType():
            return datetime.fromisoformat(spelled)
        case DateType():
            return date.fromisoformat(spelled)
        case _:
            return spelled

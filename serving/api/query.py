"""The SQL that a page is asked for with, built as a tree: no text of a request is ever pasted."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from sqlglot import exp

import schemas
from serving.api.asking import Ask, Value
from serving.api.paging import Place, place_of
from serving.api.relations import NEWEST, ROWS, Relation
from serving.views import MINUTES

_MINUTE = "window_start"
LOG_PARTITION, LAST_OFFSET = "log_partition", "last_offset"
# Trino's timestamps are microseconds only where they say so; DuckDB's always are.
_INSTANT = exp.DataType.build("timestamp(6) with time zone", dialect="trino")
_DAY = exp.DataType.build("date")


def page_query(ask: Ask) -> exp.Select:
    """Return the query of a page: one row more than it holds tells whether another follows.

    Raises:
        ProblemError: The cursor is not one of this query.
    """
    relation = ask.relation
    query = exp.select(*_selected(relation)).from_(_table(relation.name))
    query = query.where(*_conditions(ask))
    place = place_of(ask)
    if place is not None:
        query = query.where(_after(relation.order, place))
    order = [
        exp.Ordered(this=_column(name.removeprefix("-")), desc=name.startswith("-"))
        for name in relation.order
    ]
    query = query.group_by(*(_column(name) for name in relation.counted))
    return query.order_by(*order).limit(ask.limit + 1)


def _selected(relation: Relation) -> list[exp.Expr]:
    if not relation.counted or relation.time is None:
        return [_column(column.name) for column in relation.columns]
    return [
        *(_column(name) for name in relation.counted),
        exp.alias_(exp.Count(this=exp.Star()), ROWS),
        exp.alias_(exp.Max(this=_column(relation.time)), NEWEST),
    ]


def positions_query(
    relation: Relation, rows: Mapping[str, tuple[Value, Value]], *, batch_only: bool
) -> exp.Select:
    """Return the query of the highest log position, by partition, behind some rows of a relation.

    Views do not show partitions, so the tables of both layers are asked.

    Args:
        relation: A merged view.
        rows: The least and the greatest value that the rows have, by the columns of their order.
        batch_only: The speed layer's table is left out.
    """
    bounds = dict(rows)
    source = schemas.contract(relation.contract if relation.minutes is None else MINUTES)
    if relation.minutes is not None and relation.time is not None:
        first, last = (_start_of(moment) for moment in bounds.pop(relation.time))
        bounds[_MINUTE] = first, last + relation.minutes - timedelta(microseconds=1)
    conditions = [_between(column, *values) for column, values in bounds.items()]
    speed = [source.speed_twin] if source.speed_twin and not batch_only else []
    tables = [source.name, *speed]
    selects = [
        exp.select(_column(LOG_PARTITION), _column(LAST_OFFSET))
        .from_(_table(table))
        .where(*(condition.copy() for condition in conditions))
        for table in tables
    ]
    seen = selects[0] if len(selects) == 1 else exp.union(*selects, distinct=False)
    highest = exp.alias_(exp.Max(this=_column(LAST_OFFSET)), LAST_OFFSET)
    query = exp.select(_column(LOG_PARTITION), highest).from_(seen.subquery("seen"))
    return query.group_by(_column(LOG_PARTITION))


def _start_of(moment: Value) -> datetime:
    assert isinstance(moment, date)  # noqa: S101 - rolled-up rows are of a time
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time.min, UTC)


def _between(column: str, first: Value, last: Value) -> exp.Expr:
    return exp.and_(_column(column) >= _literal(first), _column(column) <= _literal(last))


def _conditions(ask: Ask) -> list[exp.Expr]:
    found: list[exp.Expr] = [
        _column(name).isin(*(_literal(value) for value in values)) for name, values in ask.named
    ]
    if ask.relation.time is not None:
        moment = _column(ask.relation.time)
        if ask.start is not None:
            found.append(moment >= _literal(ask.start))
        if ask.end is not None:
            found.append(moment < _literal(ask.end))
    return found


def _after(order: tuple[str, ...], place: Place) -> exp.Expr:
    """Say that a row comes after a place.

    It is said once more, roughly, of the first column alone: engines skip files by that.
    """
    alternatives = []
    for depth, name in enumerate(order):
        same = [
            _column(before.removeprefix("-")).eq(_literal(value))
            for before, value in zip(order[:depth], place[:depth], strict=True)
        ]
        alternatives.append(exp.and_(*same, _beyond(name, place[depth])))
    first, value = _column(order[0].removeprefix("-")), _literal(place[0])
    roughly = first <= value if order[0].startswith("-") else first >= value
    return exp.and_(roughly, exp.or_(*alternatives))


def _beyond(name: str, value: Value) -> exp.Expr:
    column, limit = _column(name.removeprefix("-")), _literal(value)
    return column < limit if name.startswith("-") else column > limit


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _table(name: str) -> exp.Table:
    schema, _, table = name.partition(".")
    return exp.table_(table, db=schema, quoted=True)


def _literal(value: Value) -> exp.Expr:
    match value:
        case datetime():
            moment = value.astimezone(UTC).replace(tzinfo=None)
            text = f"{moment.isoformat(' ', 'microseconds')} UTC"
            return exp.Cast(this=exp.Literal.string(text), to=_INSTANT.copy())
        case date():
            return exp.Cast(this=exp.Literal.string(value.isoformat()), to=_DAY.copy())
        case int():
            return exp.Literal.number(value)
        case str():
            return exp.Literal.string(value)

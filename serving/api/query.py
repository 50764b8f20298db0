"""The SQL that a page is asked for with, built as a tree: no text of a request is ever pasted."""

from datetime import UTC, date, datetime

from sqlglot import exp

import schemas
from serving.api.asking import Ask, Value
from serving.api.paging import Place, order_columns, place_of
from serving.api.relations import LAST_OFFSET, NEWEST, ROWS, Relation

# Trino's timestamps are microseconds only where they say so; DuckDB's always are.
_INSTANT = exp.DataType.build("timestamp(6) with time zone", dialect="trino")
_DAY = exp.DataType.build("date")


def page_query(ask: Ask) -> exp.Select:
    """Return the query of a page: one row more than it holds tells whether another follows.

    Raises:
        ProblemError: The cursor is not one of this query.
    """
    relation = ask.relation
    query = exp.select(*_selected(relation)).from_(table_of(relation.name))
    query = query.where(*_conditions(ask))
    place = place_of(ask)
    if place is not None:
        query = query.where(_after(relation.order, place))
    order = [
        exp.Ordered(this=column_of(name.removeprefix("-")), desc=name.startswith("-"))
        for name in relation.order
    ]
    query = query.group_by(*(column_of(name) for name in relation.counted))
    return query.order_by(*order).limit(ask.limit + 1)


def tombstone_query(ask: Ask, last: Place | None) -> exp.Select:
    """Return the query for the keys that a page hides, with the highest position of each.

    Args:
        ask: What is asked for, of a view that hides rows.
        last: The place of the page's last row; None if it goes to the end of what is asked for.
    """
    relation, place = ask.relation, place_of(ask)
    conditions = [*_conditions(ask), column_of(str(relation.hides)).eq(_literal(0))]
    if place is not None:
        conditions.append(_after(relation.order, place))
    if last is not None:
        conditions.append(exp.not_(_after(relation.order, last)))
    key = [column_of(name) for name in order_columns(relation)]
    contract = schemas.contract(relation.contract)
    both = exp.union(
        *(
            exp.select(*key, column_of(LAST_OFFSET)).from_(table_of(table)).where(*conditions)
            for table in (contract.name, str(contract.speed_twin))
        ),
        distinct=False,
    )
    highest = exp.alias_(exp.Max(this=column_of(LAST_OFFSET)), LAST_OFFSET)
    return exp.select(*key, highest).from_(both.subquery("hidden")).group_by(*key)


def _selected(relation: Relation) -> list[exp.Expr]:
    if not relation.counted or relation.time is None:
        return [column_of(column.name) for column in relation.columns]
    return [
        *(column_of(name) for name in relation.counted),
        exp.alias_(exp.Count(this=exp.Star()), ROWS),
        exp.alias_(exp.Max(this=column_of(relation.time)), NEWEST),
    ]


def between(column: str, first: Value, last: Value) -> exp.Expr:
    """Say that a column is from one value to another, both included."""
    return exp.and_(column_of(column) >= _literal(first), column_of(column) <= _literal(last))


def _conditions(ask: Ask) -> list[exp.Expr]:
    found: list[exp.Expr] = [
        column_of(name).isin(*(_literal(value) for value in values)) for name, values in ask.named
    ]
    if ask.relation.time is not None:
        moment = column_of(ask.relation.time)
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
            column_of(before.removeprefix("-")).eq(_literal(value))
            for before, value in zip(order[:depth], place[:depth], strict=True)
        ]
        alternatives.append(exp.and_(*same, _beyond(name, place[depth])))
    first, value = column_of(order[0].removeprefix("-")), _literal(place[0])
    roughly = first <= value if order[0].startswith("-") else first >= value
    return exp.and_(roughly, exp.or_(*alternatives))


def _beyond(name: str, value: Value) -> exp.Expr:
    column, limit = column_of(name.removeprefix("-")), _literal(value)
    return column < limit if name.startswith("-") else column > limit


def column_of(name: str) -> exp.Column:
    """Return a column by its name."""
    return exp.column(name, quoted=True)


def table_of(name: str) -> exp.Table:
    """Return a table or view by its name, such as ``serving.bars_1m``."""
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

"""A statement for Trino, written out so that every table is read as it was at a time gone by.

Trino reads a table as of a snapshot, but not a view. So each merged view in the statement is
replaced by the query that it stands for, with its tables as of their snapshots.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlglot
from pyiceberg.table import Table
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakehouse.catalog import CATALOG_NAME
from lakehouse.snapshots import names_then
from serving.statements import InvalidSqlError, is_named_here
from serving.views import reads, view_names, view_sql


def tables_named(sql: str) -> frozenset[str]:
    """Return the tables and views that a query in Trino's dialect names, such as gold.bars_1m.

    Raises:
        InvalidSqlError: It cannot be parsed, or is no query.
    """
    return frozenset(name for table in _tables(_parse(sql)) if (name := _name(table)))


def tables_behind(sql: str) -> frozenset[str]:
    """Return the tables that a query reads, directly or through the merged views.

    Raises:
        InvalidSqlError: It cannot be parsed, or is no query.
    """
    named: frozenset[str] = frozenset().union(*map(reads, tables_named(sql)))
    return named - set(view_names())


@dataclass(frozen=True)
class Pin:
    """A snapshot of a table that is read in the table's place.

    Attributes:
        snapshot_id: The snapshot; None where nothing is to be read.
        names: The names that today's columns had then, by their own, None for a younger one; None
            if all are as they were.
    """

    snapshot_id: int | None
    names: Mapping[str, str | None] | None = None


def pinned(tables: Mapping[str, Table], snapshots: Mapping[str, int | None]) -> dict[str, Pin]:
    """Return how tables, freshly loaded, are read as of some snapshots."""
    found = {}
    for name, snapshot_id in snapshots.items():
        then = {} if snapshot_id is None else names_then(tables[name], snapshot_id)
        evolved = any(name != was for name, was in then.items())
        found[name] = Pin(snapshot_id, then if evolved else None)
    return found


def as_of(sql: str, pins: Mapping[str, Pin]) -> str:
    """Return the query over the tables as of some snapshots, with the columns of today.

    Args:
        sql: A query in Trino's dialect.
        pins: By table, what is read in its place.

    Raises:
        InvalidSqlError: It cannot be parsed, or is no query.
    """
    return _written_out(_parse(sql), pins).sql(dialect="trino")


def _parse(sql: str) -> exp.Query:
    try:
        query = sqlglot.parse_one(sql, read="trino")
    except SqlglotError as error:
        raise InvalidSqlError(str(error)) from error
    if not isinstance(query, exp.Query):
        raise InvalidSqlError("only a query can be asked as of a time: SELECT or WITH")
    return query


def _tables(query: exp.Expr) -> list[exp.Table]:
    return [
        table
        for table in query.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier) and (table.db or not is_named_here(table))
    ]


def _name(table: exp.Table) -> str | None:
    """Return a table's name as ours are; None where it is in no schema or another catalog."""
    if not table.db or table.catalog.lower() not in ("", CATALOG_NAME):
        return None
    return f"{table.db}.{table.name}".lower()


def _written_out(query: exp.Query, pins: Mapping[str, Pin]) -> exp.Query:
    # The tables of the statement itself, not those that writing a view out brings in.
    for table in _tables(query):
        name = _name(table)
        if name is None:
            continue
        if name in view_names():
            view = sqlglot.parse_one(view_sql(name, "trino"), read="trino")
            assert isinstance(view, exp.Query)  # noqa: S101 - our own texts
            _replace(table, _written_out(view, pins))
        elif name in pins:
            _pin(table, pins[name])
    return query


def _pin(table: exp.Table, pin: Pin) -> None:
    named = {part: table.args.get(part) for part in ("this", "db", "catalog")}
    bare = exp.Table(**named).copy()
    if pin.snapshot_id is None:
        _replace(table, exp.select("*").from_(bare).where(exp.false()))
        return
    number = exp.Literal.number(pin.snapshot_id)
    version = exp.Version(this="VERSION", kind="AS OF", expression=number)
    if pin.names is None:
        table.set("version", version)
        return
    # Trino gives a snapshot the columns that it was written with.
    bare.set("version", version)
    columns = (
        exp.alias_(exp.null() if was is None else exp.column(was), name)
        for name, was in pin.names.items()
    )
    _replace(table, exp.select(*columns).from_(bare))


def _replace(table: exp.Table, query: exp.Query) -> None:
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
    rows = exp.Subquery(this=query, alias=alias.copy())
    rows.set("joins", table.args.get("joins"))
    table.replace(rows)

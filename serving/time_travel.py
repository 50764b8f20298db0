"""A statement for Trino, written out so that every table is read as it was at a time gone by.

Trino reads a table as of a snapshot, but not a view. So each merged view in the statement is
replaced by the query that it stands for, with its tables as of their snapshots.
"""

from collections.abc import Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakehouse.catalog import CATALOG_NAME
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


def as_of(sql: str, snapshots: Mapping[str, int | None]) -> str:
    """Return the query over the tables as of some snapshots.

    Args:
        sql: A query in Trino's dialect.
        snapshots: By table, its snapshot; None where it is to be read as empty.

    Raises:
        InvalidSqlError: It cannot be parsed, or is no query.
    """
    return _written_out(_parse(sql), snapshots).sql(dialect="trino")


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


def _written_out(query: exp.Query, snapshots: Mapping[str, int | None]) -> exp.Query:
    # The tables of the statement itself, not those that writing a view out brings in.
    for table in _tables(query):
        name = _name(table)
        if name is None:
            continue
        if name in view_names():
            view = sqlglot.parse_one(view_sql(name, "trino"), read="trino")
            assert isinstance(view, exp.Query)  # noqa: S101 - our own texts
            _replace(table, _written_out(view, snapshots))
        elif name in snapshots:
            _pin(table, snapshots[name])
    return query


def _pin(table: exp.Table, snapshot_id: int | None) -> None:
    if snapshot_id is None:
        bare = exp.Table(this=table.this, db=table.args.get("db"), catalog=table.args["catalog"])
        _replace(table, exp.select("*").from_(bare.copy()).where(exp.false()))
        return
    number = exp.Literal.number(snapshot_id)
    table.set("version", exp.Version(this="VERSION", kind="AS OF", expression=number))


def _replace(table: exp.Table, query: exp.Query) -> None:
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
    rows = exp.Subquery(this=query, alias=alias.copy())
    rows.set("joins", table.args.get("joins"))
    table.replace(rows)

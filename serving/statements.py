"""What a statement reads, and whether it only reads: checked before it reaches the engine."""

import logging
import re
from dataclasses import dataclass

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakehouse.catalog import CATALOG_NAME
from lakehouse.errors import LakehouseError

# Functions in FROM that make rows out of their arguments; all others may read files.
_ROW_MAKERS = (exp.Unnest, exp.GenerateSeries, exp.Values)
_READERS = (exp.Query, exp.Values, exp.Describe, exp.Summarize, exp.Show, exp.Pivot)
_READER_TYPES = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
# sqlglot does not read what is being explained; DuckDB does.
_EXPLAIN = re.compile(r"\s*EXPLAIN\b(\s+ANALYZE\b)?(\s*\([^)]*\))?", re.IGNORECASE)
_COMMENTS_BEFORE = re.compile(r"(\s+|--[^\n]*(\n|$)|/\*.*?\*/)*", re.DOTALL)

# It warns of each statement that it does not know; those are refused here with an error.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


class InvalidSqlError(LakehouseError):
    """The statement is not valid SQL, or names what does not exist."""

    exit_code = 2


class NotReadOnlyError(LakehouseError):
    """The statement would change something, or read what is not in the lake."""

    exit_code = 2


@dataclass(frozen=True)
class Statement:
    """A statement that only reads.

    Attributes:
        sql: Its text.
        tables: What it reads, such as ``serving.bars_1m``; a table without a schema has no dot.
        lists_tables: It asks for what tables there are.
    """

    sql: str
    tables: frozenset[str]
    lists_tables: bool


def read_statement(sql: str) -> Statement:
    """Check one statement in DuckDB's dialect and find the tables that it reads.

    Raises:
        InvalidSqlError: It cannot be parsed, or is none or several.
        NotReadOnlyError: It is no SELECT, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN of one, or it
            reads files.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise InvalidSqlError(str(error)) from error
    if not statements:
        raise InvalidSqlError("there is no statement; give a query such as SELECT 1")
    # DuckDB runs PIVOT as two statements, of which the first makes a type.
    query = _parse(sql, explained=statements[-1].type == duckdb.StatementType.EXPLAIN)
    if not isinstance(query, _READERS) or statements[-1].type not in _READER_TYPES:
        raise NotReadOnlyError(
            f"{query.key.upper()} is refused: the lake is read-only here; "
            "use SELECT, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN"
        )
    return Statement(sql, _tables(query), isinstance(query, exp.Show))


def _parse(sql: str, *, explained: bool) -> exp.Expr:
    if explained:
        sql = sql[_COMMENTS_BEFORE.match(sql).end() :]  # type: ignore[union-attr]
        sql = _EXPLAIN.sub("", sql, count=1)
    try:
        parsed = sqlglot.parse(sql, read="duckdb")
    except SqlglotError as error:
        raise InvalidSqlError(str(error)) from error
    # A comment after the last semicolon is parsed as one more statement.
    queries = [query for query in parsed if query and not isinstance(query, exp.Semicolon)]
    if len(queries) != 1:
        raise InvalidSqlError(f"one statement at a time, please; there are {len(queries)}")
    return queries[0]


def _tables(query: exp.Expr) -> frozenset[str]:
    found = set()
    for table in query.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            if not isinstance(table.this, _ROW_MAKERS):
                raise NotReadOnlyError(
                    f"{table.sql(dialect='duckdb')} is refused: only tables and views of the lake "
                    "can be read"
                )
        elif table.db or not is_named_here(table):
            catalog = "" if table.catalog in ("", CATALOG_NAME) else f"{table.catalog}."
            schema = f"{table.db}." if table.db else ""
            found.add(f"{catalog}{schema}{table.name}".lower())
    return frozenset(found)


def is_named_here(table: exp.Table) -> bool:
    """Tell whether a name without a schema is that of a common table expression around it."""
    scope: exp.Expr | None = table
    while scope is not None:
        names = (cte.alias.lower() for cte in scope.args.get("with_", exp.With()).expressions)
        if table.name.lower() in names:
            return True
        scope = scope.parent
    return False

"""The merged views: one SQL text each, in Trino's dialect, moved to other engines by sqlglot.

The texts in ``views/`` use three functions that no engine has; they are written out here:

- ``MERGED('table', …)`` is the merge rule over a batch table and its speed twin. Key and columns
  come from the table's contract; further arguments are expressions that belong to the key too.
- ``ROLLED_UP(bucket, 'name')`` is the merged minutes summarised by a coarser stretch of time.
- ``DIVIDE_HALF_UP(notional, volume)`` divides decimals exactly (see `serving.decimals`).
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from string import Template

import sqlglot
from sqlglot import exp

import schemas
from lakehouse.catalog import CATALOG_NAME
from lakehouse.errors import LakehouseError
from serving.decimals import Dialect, divide_half_up

SCHEMA = "serving"
_MERGE_RULE, _ROLL_UP = "merge_rule", "roll_up"
MINUTES = "gold.bars_1m"
# Which partition of the log a row came from means nothing to a reader of merged rows.
_HIDDEN_COLUMNS = frozenset({"log_partition"})


class UnknownViewError(LakehouseError):
    """There is no merged view of that name."""


class NotMergeableError(LakehouseError):
    """A view merges a table that has no speed twin."""


@cache
def view_names() -> tuple[str, ...]:
    """Return the names of the merged views, with their schema: ``serving.bars_1h`` and so on."""
    texts = sorted(entry.name for entry in (files(__package__) / "views").iterdir())
    stems = (text.removesuffix(".sql") for text in texts if text.endswith(".sql"))
    return tuple(f"{SCHEMA}.{stem}" for stem in stems if stem not in (_MERGE_RULE, _ROLL_UP))


@cache
def view_sql(view: str, dialect: Dialect = "trino") -> str:
    """Return the query that a merged view stands for.

    Args:
        view: The view with its schema, such as ``serving.bars_1m``.
        dialect: The engine whose SQL is wanted.

    Raises:
        UnknownViewError: There is no such view.
    """
    return _query(view, dialect).sql(dialect=dialect, pretty=True)


@cache
def view_sources(view: str) -> frozenset[str]:
    """Return the tables and views that a view reads directly, such as ``gold.bars_1m_rt``.

    Raises:
        UnknownViewError: There is no such view.
    """
    tables = _query(view, "trino").find_all(exp.Table)
    return frozenset(f"{table.db}.{table.name}" for table in tables)


@cache
def reads(name: str) -> frozenset[str]:
    """Return a table or view and everything that it reads, directly or through views."""
    if name not in view_names():
        return frozenset({name})
    return frozenset({name}).union(*(reads(source) for source in view_sources(name)))


@cache
def view_description(view: str) -> str:
    """Return the first sentence of what a view's text says of itself.

    Raises:
        UnknownViewError: There is no such view.
    """
    _check(view)
    lines = _file(view.removeprefix(f"{SCHEMA}.")).splitlines()
    said = " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
    return said.partition(". ")[0].removesuffix(".") + "."


def _check(view: str) -> None:
    if view not in view_names():
        raise UnknownViewError(f"there is no view {view}; there are {', '.join(view_names())}")


def _query(view: str, dialect: Dialect) -> exp.Expr:
    _check(view)
    query = sqlglot.parse_one(_text(view.removeprefix(f"{SCHEMA}.")), read="trino")
    written_out: dict[str, Callable[..., exp.Expr]] = {"MERGED": _merged, "ROLLED_UP": _rolled_up}
    for call in list(query.find_all(exp.Anonymous)):
        if (write := written_out.get(call.name.upper())) is not None:
            # The parser wraps a function in FROM in a table.
            call.find_ancestor(exp.Table).replace(write(*call.expressions))  # type: ignore[union-attr]
    for call in list(query.find_all(exp.Anonymous)):
        if call.name.upper() == "DIVIDE_HALF_UP":
            call.replace(divide_half_up(*call.expressions, dialect=dialect))
    return query


def _text(name: str) -> str:
    """Return a text without the lines that only explain it."""
    return "\n".join(line for line in _file(name).splitlines() if not line.startswith("--"))


def _file(name: str) -> str:
    return (files(__package__) / "views" / f"{name}.sql").read_text(encoding="utf-8")


def _merged(table: exp.Expr, *further_key: exp.Expr) -> exp.Subquery:
    """Write the merge rule out over a table and its speed twin."""
    contract = schemas.contract(table.name)
    if contract.speed_twin is None:
        raise NotMergeableError(f"{contract.name} has no speed twin to merge with")
    columns = [name for name in contract.column_names if name not in _HIDDEN_COLUMNS]
    key: list[exp.Expr] = [*(exp.column(name) for name in contract.key), *further_key]
    named = {part.output_name or f"key_{place}": part for place, part in enumerate(key)}
    rule = Template(_text(_MERGE_RULE)).substitute(
        batch_table=f"{CATALOG_NAME}.{contract.name}",
        speed_table=f"{CATALOG_NAME}.{contract.speed_twin}",
        columns=", ".join(columns),
        batch_columns=", ".join(f"batch.{name}" for name in columns),
        newest_columns=", ".join(f"newest.{name}" for name in columns),
        key=_join(", ", key),
        key_columns=_join(
            ", ", [p if p.output_name else exp.alias_(p, name) for name, p in named.items()]
        ),
        batch_is_seen=_join(
            " AND ", [_of("batch", part).eq(exp.column(n, "seen")) for n, part in named.items()]
        ),
        newest_is_in_batch=_join(" AND ", [test for part in key for test in _same_key(part)]),
    )
    return _subquery(rule, "merged")


def _rolled_up(bucket: exp.Expr, name: exp.Expr) -> exp.Expr:
    """Write out the summary of the merged minutes by ``bucket``, which becomes column ``name``."""
    sums = schemas.contract(MINUTES).carried.items()
    carried = "".join(f"CAST(sum(bars.{name}) AS {type_}) AS {name}, " for name, type_ in sums)
    text = Template(_text(_ROLL_UP)).substitute(name=name.name, carried=carried)
    rows = _subquery(text, "rolled_up")
    return exp.replace_placeholders(rows, bucket=_of("bars", bucket))


def _subquery(text: str, name: str) -> exp.Subquery:
    query = sqlglot.parse_one(text, read="trino")
    return exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier(name)))


def _same_key(part: exp.Expr) -> list[exp.Expr]:
    """Say that one part of the key is the same in the rows ``newest`` and ``batch``."""
    newest = _of("newest", part)
    same: list[exp.Expr] = [_of("batch", part).eq(newest)]
    if isinstance(part, exp.TimestampTrunc):
        # Follows from the equality, but only of a bare column do engines see that files of other
        # times need no reading.
        time, end = _of("batch", part.this), _one(part.args["unit"])
        same += [time >= newest, time < exp.Add(this=newest.copy(), expression=end)]
    return same


def _one(unit: exp.Expr) -> exp.Interval:
    return exp.Interval(this=exp.Literal.string("1"), unit=unit.copy())


def _of(table: str, expression: exp.Expr) -> exp.Expr:
    """Return a copy of the expression, its columns taken from ``table``."""
    return expression.copy().transform(
        lambda node: exp.column(node.name, table) if isinstance(node, exp.Column) else node
    )


def _join(separator: str, parts: list[exp.Expr]) -> str:
    return separator.join(part.sql(dialect="trino") for part in parts)

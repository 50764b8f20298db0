"""The merged views in Trino: made from their one text, each after those that it reads.

They are SECURITY DEFINER views of the role ``orchestration``: whoever may read a view needs no
right on the silver tables behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter
from hashlib import sha256

import schemas
from lakehouse.catalog import CATALOG_NAME
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from serving.engines import Engine, sql_engine
from serving.views import SCHEMA, view_description, view_names, view_sources, view_sql

_STATED = f"""
    SELECT table_name, comment
    FROM system.metadata.table_comments
    WHERE catalog_name = '{CATALOG_NAME}' AND schema_name = '{SCHEMA}'
"""


class NoTrinoError(LakehouseError):
    """The home has no Trino in which views could be made."""


class Outcome(StrEnum):
    """What was done about one view."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FOREIGN = "not ours"
    """It is in the schema but not among our texts. Nothing is dropped unasked."""


@dataclass(frozen=True)
class Published:
    """One view and what was done about it."""

    view: str
    outcome: Outcome


def apply(settings: Settings) -> list[Published]:
    """Make the merged views in Trino what their texts say.

    Args:
        settings: Those of the role ``orchestration``, who owns the views.

    Raises:
        NoTrinoError: This is an embedded home; its engine has the views built in.
        LakehouseError: Trino refuses or does not answer.
    """
    if settings.trino is None:
        raise NoTrinoError(
            f"{settings.home} has no Trino: its SQL engine has the merged views built in, there is "
            "nothing to apply"
        )
    engine = sql_engine(settings)
    try:
        return publish(engine)
    finally:
        engine.close()


def publish(engine: Engine) -> list[Published]:
    """Create what is missing, replace what has changed, leave alone and report what is not ours.

    A view's comment ends in a fingerprint of the statement that made it and of the columns behind
    it: Trino keeps its own rendering of the statement, which cannot be compared with ours.
    """
    engine.query(f"CREATE SCHEMA IF NOT EXISTS {CATALOG_NAME}.{SCHEMA}")
    stated = {
        f"{SCHEMA}.{r['table_name']}": r["comment"] for r in engine.query(_STATED).to_pylist()
    }
    done = []
    for view in in_order():
        comment = f"{view_description(view)} [{fingerprint(view)}]"
        if stated.get(view) == comment:
            done.append(Published(view, Outcome.UNCHANGED))
            continue
        engine.query(_statement(view, comment))
        done.append(Published(view, Outcome.CHANGED if view in stated else Outcome.CREATED))
    foreign = sorted(stated.keys() - set(view_names()))
    return [*done, *(Published(view, Outcome.FOREIGN) for view in foreign)]


def in_order() -> Iterator[str]:
    """Yield the views, each after those that it reads."""
    known = set(view_names())
    yield from TopologicalSorter({v: view_sources(v) & known for v in view_names()}).static_order()


def fingerprint(view: str) -> str:
    """Return what changes when the view must be made again.

    Trino fixes the types of a view's columns when it is made, so those of the tables count too.
    """
    types = [
        f"{source}.{column.name} {column.type}"
        for source in sorted(_tables(view))
        for column in schemas.contract(source).columns
    ]
    return sha256("\n".join([_statement(view, ""), *types]).encode()).hexdigest()[:16]


def _tables(view: str) -> frozenset[str]:
    """Return the tables that a view reads, directly or through views."""
    known = set(view_names())
    found = (_tables(source) if source in known else {source} for source in view_sources(view))
    return frozenset().union(*found)


def _statement(view: str, comment: str) -> str:
    quoted = comment.replace("'", "''")
    return (
        f"CREATE OR REPLACE VIEW {CATALOG_NAME}.{view} COMMENT '{quoted}' SECURITY DEFINER AS\n"
        f"{view_sql(view, 'trino')}"
    )

"""``lakehouse schemas``: contracts into tables, and checks before they are; ``lineage``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from lakehouse.catalog import load_catalog
from lakehouse.settings import get_settings
from schemas import TableContract, contracts, folder, tables
from schemas.checks import require_sound
from schemas.lineage import Place, column_place, upstream
from schemas.registry import ContractRegistry, register, schema_registry
from schemas.release_history import HistoryError, released_ever
from schemas.released import FILE, Released

app = typer.Typer()
verbs = typer.Typer(no_args_is_help=True, help="Contracts: list, check, and make into tables.")
app.add_typer(verbs, name="schemas")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback()
def _keep_the_sub_command() -> None:
    """Keep ``schemas`` a sub-command even while it is the only one."""


@verbs.command()
def apply(as_json: AsJson = False) -> None:
    """Create the tables that are missing and evolve those whose contract has changed.

    The Avro schemas of the topics are given to the registry before: from then on a producer may
    use them. Nothing is done unless all that `check` looks at is sound.

    Example: lakehouse schemas apply
    """
    settings = get_settings("orchestration")
    registry, catalog = ContractRegistry(), load_catalog(settings)
    require_sound(contracts(), registry, [Released.read(folder())])
    tables.preview(catalog)  # refuses before the registry has anything new
    register(schema_registry(settings), registry)
    _show(tables.apply(catalog), as_json)


@verbs.command()
def check(
    with_tables: Annotated[
        bool, typer.Option("--tables", help="Also compare with the tables of this home.")
    ] = False,
) -> None:
    """Check the contracts, that each Avro version reads all earlier ones, and what was released.

    What was released is what released.json says and, in a git repository, ever said. Exits with 1
    and names file and field when something is wrong. Changes nothing.

    Example: lakehouse schemas check --tables
    """
    known = contracts()
    try:
        releases = released_ever(_own_folder())
    except HistoryError as error:
        # Whoever only has a part of the history can still look at all else.
        typer.echo(f"held against {FILE} alone: {error}")
        releases = [Released.read(_own_folder())]
    require_sound(known, ContractRegistry(), releases)
    topics = sum(len(table.topics) for table in known.values())
    typer.echo(
        f"{len(known)} tables and {topics} topics: contracts and Avro versions are sound; "
        f"held against {len(releases)} states of {FILE}"
    )
    for change in releases[0].changed_by(known):
        typer.echo(f"not released yet: {change}")
    if with_tables:
        _show(
            tables.preview(load_catalog(get_settings("orchestration"))),
            as_json=False,
            title="apply would have",
        )


@verbs.command()
def release() -> None:
    """Write down that contracts and Avro versions are released as they are, once they are sound.

    From then on a change is held against them: a version stays as it is, and a table changes only
    as tables can.

    Example: lakehouse schemas release
    """
    known, registry = contracts(), ContractRegistry()
    releases = released_ever(_own_folder())
    require_sound(known, registry, releases)
    for change in releases[0].changed_by(known):
        typer.echo(f"released: {change}")
    file = _own_folder() / FILE
    file.write_text(Released.now(known, registry).to_json(), encoding="utf-8")
    typer.echo(f"written: {file}")


@verbs.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List every table with its key, layout, retention, freshness target and owner.

    Example: lakehouse schemas list
    """
    facts = [_facts(table) for table in contracts().values()]
    if as_json:
        typer.echo(json.dumps(facts))
        return
    shown = Table(*(name.replace("_", " ") for name in facts[0]))
    for fact in facts:
        shown.add_row(*("" if value is None else str(value) for value in fact.values()))
    Console().print(shown)


def _own_folder() -> Path:
    """Return where the contracts are, as a folder that can be written to."""
    return Path(str(folder()))


def _facts(table: TableContract) -> dict[str, str | int | float | None]:
    return {
        "table": table.name,
        "columns": len(table.columns),
        "key": ", ".join(table.key),
        "partitioning": ", ".join(map(str, table.partitioning)),
        "sort_order": ", ".join(table.sort_order),
        "retention_days": table.retention_days,
        "freshness_seconds": table.freshness_seconds,
        "owner": table.owner,
        "topics": ", ".join(topic.name for topic in table.topics),
        "pii_columns": ", ".join(column.name for column in table.columns if column.pii),
    }


def _show(outcomes: list[tables.Applied], as_json: bool, title: str | None = None) -> None:
    if as_json:
        typer.echo(json.dumps([{**vars(one), "changes": list(one.changes)} for one in outcomes]))
        return
    shown = Table("table", "outcome", "changes", title=title)
    for one in outcomes:
        shown.add_row(one.table, one.outcome, "\n".join(one.changes))
    Console().print(shown)


@app.command()
def lineage(
    column: Annotated[str, typer.Argument(help="Such as gold.bars_1m.vwap.")],
    as_json: AsJson = False,
) -> None:
    """Follow a column to the topic or the files that it comes from, by the contracts.

    Example: lakehouse lineage gold.bars_1m.vwap
    """
    place = column_place(column)
    if as_json:
        typer.echo(json.dumps(_followed(place)))
        return
    tree = Tree(str(place))
    _grow(tree, place)
    Console().print(tree)


def _followed(place: Place) -> dict[str, Any]:
    return {
        "kind": place.kind,
        "of": place.of,
        "name": place.name,
        "made_of": [_followed(source) for source in upstream(place)],
    }


def _grow(tree: Tree, place: Place) -> None:
    for source in upstream(place):
        _grow(tree.add(str(source)), source)

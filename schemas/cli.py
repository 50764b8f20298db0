"""``lakehouse schemas``: contracts into tables, and checks before they are."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import schemas as contracts_room
from lakehouse.catalog import load_catalog
from lakehouse.settings import get_settings
from schemas import tables

app = typer.Typer()
schemas = typer.Typer(no_args_is_help=True, help="Contracts: list, check, and make into tables.")
app.add_typer(schemas, name="schemas")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback()
def _rooms_verbs() -> None:
    """Keep ``schemas`` a sub-command even while it is the only one."""


@schemas.command()
def apply(as_json: AsJson = False) -> None:
    """Create the tables that are missing and evolve those whose contract has changed.

    Example: lakehouse schemas apply
    """
    done = tables.apply(load_catalog(get_settings()))
    if as_json:
        typer.echo(json.dumps([{**vars(one), "changes": list(one.changes)} for one in done]))
        return
    shown = Table("table", "outcome", "changes")
    for one in done:
        shown.add_row(one.table, one.outcome, "\n".join(one.changes))
    Console().print(shown)

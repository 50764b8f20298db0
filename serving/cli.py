"""What the lake serves: by SQL, as charts, metrics and predictions, live, and by the API."""

import json
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from lakehouse.errors import LakehouseError
from lakehouse.intervals import parse_time
from lakehouse.settings import get_settings
from serving.api.cli import app as api_app
from serving.commands.cli import app as commands_app
from serving.engines import sql_engine
from serving.exporter.cli import app as exporter_app
from serving.live.cli import app as live_app
from serving.models.cli import app as models_app
from serving.output import print_table, write_csv, write_json
from serving.statements import InvalidSqlError
from serving.views import view_description, view_names, view_sources, view_sql

app = typer.Typer()
app.registered_commands += exporter_app.registered_commands
app.registered_commands += live_app.registered_commands
app.add_typer(api_app, name="api")
app.add_typer(commands_app, name="commands")
app.add_typer(models_app, name="models")
views = typer.Typer(
    no_args_is_help=True, help="The merged views: list, show their SQL, make them in Trino."
)
app.add_typer(views, name="views")
customers = typer.Typer(
    no_args_is_help=True, help="Customers in plain text, until they are erased."
)
app.add_typer(customers, name="customers")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class ViewDialect(StrEnum):
    """Engines that the views can be printed for."""

    TRINO = "trino"
    DUCKDB = "duckdb"


class MissingDependencyError(LakehouseError):
    """A part of the project that this command needs is not installed."""


@app.command()
def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="One statement, in DuckDB's dialect; where a stack runs in Trino's. - reads stdin."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", exists=True, dir_okay=False, help="Read it here.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="Answer as the lake was at this time, ISO 8601, UTC.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Query any table and merged view; changes nothing.

    DuckDB answers, or Trino as user `serving` where a stack runs (LAKEHOUSE_TRINO).

    A time gone by (--as-of) reaches back as far as snapshots are kept: a week in batch's tables,
    minutes in the speed layer's. Of an earlier time than that the merged views are what batch had
    published, all of it RECONCILED, and a warning says so.

    Decimals print with all their digits (in JSON as strings), timestamps as ISO 8601 in UTC.
    Exits with 2 when the statement is wrong or refused, with 1 when it fails.

    Example: lakehouse sql "SELECT status, count(*) FROM serving.bars_1m GROUP BY status" --json
    """
    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    time = None if as_of is None else parse_time(as_of)
    rows = sql_engine(get_settings("serving")).query(_statement(query, file), as_of=time)
    if as_json:
        write_json(rows, sys.stdout)
    elif as_csv:
        write_csv(rows, sys.stdout)
    else:
        print_table(rows, Console())


@views.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the merged views, what a row of each is, and what they read.

    Example: lakehouse views list
    """
    if as_json:
        facts = [
            {"view": v, "description": view_description(v), "reads": sorted(view_sources(v))}
            for v in view_names()
        ]
        typer.echo(json.dumps(facts))
        return
    shown = Table("view", "description", "reads")
    for view in view_names():
        shown.add_row(view, view_description(view), ", ".join(sorted(view_sources(view))))
    Console().print(shown)


@views.command()
def show(
    name: Annotated[
        str | None, typer.Argument(help="One view, such as serving.bars_1m; all when left out.")
    ] = None,
    dialect: Annotated[
        ViewDialect, typer.Option(help="The engine whose SQL is printed.")
    ] = ViewDialect.TRINO,
) -> None:
    """Print the SQL of the merged views, as an engine runs it.

    Example: lakehouse views show serving.bars_1m --dialect duckdb
    """
    console = Console()
    for view in view_names() if name is None else (name,):
        text = f"-- {view}\n{view_sql(view, dialect.value)};\n"
        if console.is_terminal:
            console.print(Syntax(text, "sql", theme="ansi_dark"))
        else:
            typer.echo(text)


@views.command()
def apply(as_json: AsJson = False) -> None:
    """Make the merged views in Trino; again, it changes only what differs.

    Views that are there but not among ours are reported and left alone.

    Example: lakehouse views apply
    """
    from serving.publication import apply as apply_views

    done = apply_views(get_settings("orchestration"))
    if as_json:
        typer.echo(json.dumps([vars(one) for one in done]))
        return
    shown = Table("view", "outcome")
    for one in done:
        shown.add_row(one.view, one.outcome)
    Console().print(shown)


@customers.command(name="show")
def show_customer(
    customer: Annotated[str, typer.Argument(help="The CRM's id of the customer.")],
    as_json: AsJson = False,
) -> None:
    """Print the states that a customer went through, with personal data.

    For who may read the key store (LAKEHOUSE_KEY_STORE, or a KMS). Nothing is stored in plain text.
    An erased customer's personal fields are empty.

    Example: lakehouse customers show C-00042
    """
    from lakehouse.catalog import load_catalog
    from lakehouse.privacy.stores import key_store
    from serving.customers import customer_history

    settings = get_settings("serving")
    keys = key_store(settings)
    states = customer_history(load_catalog(settings), keys, customer)
    if as_json:
        typer.echo(json.dumps(states, default=str))
        return
    for state in states:
        table = Table(show_header=False, box=None)
        for name, value in state.items():
            table.add_row(name, "" if value is None else str(value))
        Console().print(table, "")


@app.command()
def chart(
    out: Annotated[Path, typer.Option(dir_okay=False, help="The PNG to write.")],
    symbol: Annotated[
        list[str] | None, typer.Option(help="A symbol to draw; repeat it; all when left out.")
    ] = None,
    venue: Annotated[list[str] | None, typer.Option(help="A venue to draw; repeat it.")] = None,
    since: Annotated[
        datetime | None, typer.Option(help="First minute to draw, in UTC.", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Draw minutes before this one, in UTC.")
    ] = None,
) -> None:
    """Draw candlesticks of the merged one-minute bars; provisional bars are hollow.

    Example: lakehouse chart --out bars.png --symbol BTCUSDT
    """
    try:  # It draws with a package of another extra.
        from serving.charts import draw_bars, read_bars
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{error.name} is missing: install the project with its demo extra"
        ) from error
    engine = sql_engine(get_settings("serving"))
    bars = read_bars(engine, venues=venue, symbols=symbol, since=since, until=until)
    draw_bars(bars, out)
    typer.echo(f"{len(bars)} bars in {out}")


def _statement(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise InvalidSqlError("give one statement: as an argument, as - for stdin, or by --file")
    if file is not None:
        return file.read_text(encoding="utf-8")
    return sys.stdin.read() if query == "-" else str(query)

"""``lakehouse demo``: the guided tour on the command line."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings, get_settings
from lakehouse.telemetry import configure_logging

if TYPE_CHECKING:
    from demo.oracle import Verdict
    from demo.tour import Outcome

app = typer.Typer()


class NotEqualError(LakehouseError):
    """The merged view is not what the oracle says; the differences were shown."""

    exit_code = 3


@app.command()
def demo(
    speed: Annotated[
        float, typer.Option(min=0.1, help="Recorded seconds that pass in a real one.")
    ] = 10.0,
    keep_running: Annotated[
        bool,
        typer.Option("--keep-running", help="Leave broker, lander, speed layer and API running."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON; the rest goes to stderr.")
    ] = False,
) -> None:
    """Run the whole loop on eleven recorded minutes of real trades, and check it by an oracle.

    Starts from an empty lake in LAKEHOUSE_HOME: what an earlier demo left there is replaced,
    another lake is not touched. Exits with 3 if any value differs from the oracle's.

    Example: lakehouse demo --speed 10
    """
    from demo.home import demo_home
    from demo.screen import screen_for
    from demo.signals import all_interrupt
    from demo.tour import Tour

    settings = get_settings()
    # Warnings only: the tour itself tells what goes on.
    configure_logging("demo", "WARNING")
    console = Console(stderr=as_json)
    with all_interrupt(), demo_home(settings), screen_for(console) as screen:
        outcome = Tour(settings, screen, speed=speed, keep_running=keep_running).run()
    if as_json:
        typer.echo(json.dumps(summary(settings, outcome), indent=2))
    _say_farewell(console, settings, outcome, keep_running=keep_running)
    if not outcome.equal:
        raise NotEqualError("the merged view and the oracle disagree, see above")


def summary(settings: Settings, outcome: "Outcome") -> dict[str, Any]:
    """Return what the demo found, in what JSON knows."""
    return {
        "equal": outcome.equal,
        "events": outcome.events,
        "seconds": outcome.seconds,
        "verdict_midway": _verdict(outcome.midway) if outcome.midway else None,
        "verdicts": {view: _verdict(verdict) for view, verdict in outcome.final.items()},
        "bars": outcome.bars,
        "freshness": outcome.freshness,
        "batch": outcome.batch,
        "reconciliation": outcome.reconciliation,
        "confirmed": [moment.isoformat() for moment in outcome.confirmed or ()],
        "rest": [moment.isoformat() for moment in outcome.rest or ()],
        "home": str(settings.home),
        "picture": str(outcome.picture),
    }


def _verdict(verdict: "Verdict") -> dict[str, Any]:
    return {
        "equal": verdict.equal,
        "rows": verdict.rows,
        "values": verdict.values,
        "differences": [str(difference) for difference in verdict.differences],
    }


def _say_farewell(
    console: Console, settings: Settings, outcome: "Outcome", *, keep_running: bool
) -> None:
    def say(text: str = "") -> None:
        console.print(text, highlight=False, soft_wrap=True)

    for name, found in (("all events", "all"), ("once warm", "once_warm")):
        if fresh := outcome.freshness.get(found):
            say(
                f"freshness, {name}: p50 {fresh['p50_seconds']:.2f} s, "
                f"p95 {fresh['p95_seconds']:.2f} s, p99 {fresh['p99_seconds']:.2f} s "
                f"({fresh['events']:,} events)"
            )
    say(
        "[dim]from the producer's timestamp to the end of the first query of serving.bars_1m that "
        "had seen the event; batch and reconciliation ran beside it on the same cores[/]"
    )
    say()
    say(f"[bold]{outcome.events:,} trades in {outcome.seconds:.0f} s.[/] The lake: {settings.home}")
    say(f"picture: {outcome.picture}")
    say()
    say("[bold]Try next[/]")
    for command, purpose in _next_commands(outcome, keep_running=keep_running):
        say(f"  [dim]{purpose}[/]\n  [cyan]{command}[/]")


def _next_commands(outcome: "Outcome", *, keep_running: bool) -> list[tuple[str, str]]:
    """Return commands worth trying, as they can be typed here, and what each does."""
    me = _command()
    the_rest = []
    if outcome.rest:
        start, end = (f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" for moment in outcome.rest)
        the_rest = [
            (f"{me} batch --start {start} --end {end}", "let batch confirm the rest"),
            (f"{me} reconcile --start {start} --end {end}",
             "compare again, and prune what was found covered the first time"),
        ]  # fmt: skip
    query = "SELECT symbol, window_start, close, vwap, status FROM serving.bars_1m ORDER BY 1, 2"
    start_again = (
        [] if keep_running else [(f"{me} up", "start broker, lander, speed layer and API again")]
    )
    return [
        (f'{me} sql "{query}"', "the merged view, in SQL"),
        *the_rest,
        *start_again,
        (f"{me} api address", "where the page is that shows the market in a browser"),
        (f"{me} status", "what runs, and whether it is well"),
        (f"{me} synth --seconds 20 --late 0.05 --corrections 0.02 --cancels 0.02",
         "a market with late trades, corrections and cancels"),
        (f"{me} down", "stop what runs; the lake stays"),
    ]  # fmt: skip


def _command() -> str:
    """Return how the user calls this program."""
    program = Path(sys.argv[0])
    if program.name != "lakehouse":
        return "lakehouse"
    here = Path.cwd()
    shown = program.relative_to(here) if program.is_relative_to(here) else program
    home = os.environ.get("LAKEHOUSE_HOME")
    return f"LAKEHOUSE_HOME={home} {shown}" if home else str(shown)

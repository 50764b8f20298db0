"""The ``lakehouse`` command: the kernel's own verbs, and those that the rooms add."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lakehouse import artifacts, distributions, doctor, operations
from lakehouse.artifacts import Profile
from lakehouse.cluster.cli import app as drivers_app
from lakehouse.errors import LakehouseError
from lakehouse.infra import infra_file
from lakehouse.privacy.cli import app as privacy_app
from lakehouse.rooms import load_rooms
from lakehouse.settings import Settings, get_settings
from lakehouse.stack.cli import app as stack_app
from lakehouse.telemetry import configure_logging

INTERRUPTED = 130  # what shells report of a command that Ctrl-C ended
MIB, GIB = 1 << 20, 1 << 30
OPERATE = "Operate"
VERDICT_STYLES = {"ok": "green", "warning": "yellow", "failure": "red"}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
artifacts_app = typer.Typer(no_args_is_help=True, help="Jars and servers: pinned, checked, cached.")
app.add_typer(stack_app, name="stack", rich_help_panel=OPERATE)
app.add_typer(drivers_app, name="drivers", rich_help_panel=OPERATE)
app.add_typer(artifacts_app, name="artifacts", rich_help_panel=OPERATE)
for command in privacy_app.registered_commands:
    command.rich_help_panel = OPERATE
    app.registered_commands.append(command)
_absent_rooms: dict[str, str] = {}
_errors = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
ProfileOption = Annotated[Profile, typer.Option(help="What is to run here.")]


@app.callback()
def lakehouse(context: typer.Context) -> None:
    """Run a Lambda-architecture lakehouse for market data: Kafka, Iceberg, Spark, one exact view.

    Settings are environment variables that begin with LAKEHOUSE_; LAKEHOUSE_HOME names the
    folder of an installation (by default .lakehouse here).

    Example: lakehouse up && lakehouse status && lakehouse down
    """
    configure_logging(context.invoked_subcommand or "lakehouse", _settings().log_level)


@app.command(rich_help_panel=OPERATE)
def up(
    only: Annotated[
        str, typer.Option(help="Start these and what they depend on, such as: kafka, land.")
    ] = "",
    profile: Annotated[
        Profile | None,
        typer.Option(help="What to run; a home keeps the profile that it was first started with."),
    ] = None,
) -> None:
    """Start the broker, make topics and tables, start the layers, the watcher of files, the API.

    Returns when all are healthy; they go on in the background until `lakehouse down`.

    Example: lakehouse up --only kafka
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    settings = _settings()
    with _errors.status("starting") as spinner:

        def tell(step: str) -> None:
            spinner.update(step)
            if not _errors.is_terminal:
                _errors.print(step, highlight=False)

        operations.up(settings, tell, stack=profile is Profile.STACK, only=names)
    _print_status(settings)


@app.command(rich_help_panel=OPERATE)
def down() -> None:
    """Stop every process of this home. The lake stays.

    Example: lakehouse down
    """
    with _errors.status("stopping"):
        stopped = operations.down(_settings())
    typer.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@app.command(rich_help_panel=OPERATE)
def status(as_json: JsonOption = False) -> None:
    """Show the processes of this home: state, health, port, memory, time since start.

    Example: lakehouse status --json
    """
    settings = _settings()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in operations.status(settings)], indent=2))
    else:
        _print_status(settings)


@app.command("doctor", rich_help_panel=OPERATE)
def examine(as_json: JsonOption = False, profile: ProfileOption = Profile.EMBEDDED) -> None:
    """Check what the platform needs here, and say what to do. Exit code 1 if something is missing.

    Example: lakehouse doctor --profile stack
    """
    findings = doctor.examine(_settings(), _absent_rooms, profile)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("check", "", "found", "what to do"):
            table.add_column(heading, overflow="fold")
        for finding in findings:
            style = VERDICT_STYLES[finding.verdict]
            verdict = f"[{style}]{finding.verdict}[/]"
            table.add_row(finding.check, verdict, finding.detail, finding.advice)
        Console().print(table)
    if any(finding.verdict == "failure" for finding in findings):
        raise typer.Exit(1)


@artifacts_app.command("fetch")
def fetch_artifacts(profile: ProfileOption = Profile.EMBEDDED) -> None:
    """Download what a profile needs and the cache lacks; no network when it has it all.

    The profile `stack` adds the servers of production to the jars; `compose` is the command that
    checks compose files, alone. Some are built here, which takes minutes.

    Example: lakehouse artifacts fetch --profile stack
    """
    settings = _settings()
    jars = artifacts.locked_jars(profile)
    absent = artifacts.absent_artifacts(settings, profile)
    if absent:
        with _progress("fetching jars", len(absent)) as advance:
            artifacts.fetch(settings, absent, advance)
    if jars:
        typer.echo(f"{len(jars)} jars in {settings.cache / 'jars'}, {len(absent)} fetched now")
    _fetch_distributions(settings, profile)


def _fetch_distributions(settings: Settings, profile: Profile) -> None:
    absent = distributions.absent_distributions(settings, profile)
    if absent:
        left = [item.name for item in absent]
        with _progress(f"fetching {', '.join(left)}", len(absent)) as advance:

            def arrived(name: str) -> None:
                left.remove(name)
                advance(f"fetching {', '.join(left)}" if left else "fetched")

            distributions.fetch(settings, absent, arrived)
    for item in distributions.profile_distributions(profile):
        version = item.source.version
        typer.echo(f"{item.name} {version} in {distributions.distribution(settings, item.name)}")


@artifacts_app.command("lock")
def lock_artifacts() -> None:
    """Write the checksums of those lines of the lock that have a dash instead of one.

    Example: lakehouse artifacts lock
    """
    lock = infra_file(artifacts.LOCK)
    new = sum(item.sha256 == artifacts.UNKNOWN for item in artifacts.locked_artifacts(lock))
    with _progress("fetching jars", new) as advance:
        filled = artifacts.fill_lock(_settings(), lock, advance)
    for item in filled:
        typer.echo(f"locked {item.coordinate}")
    typer.echo(f"{len(filled)} checksums written to {lock}")


def main() -> None:
    """Run the command line; an error that is meant for a person is printed without a traceback."""
    try:
        if _needs_rooms(sys.argv[1:]):
            _absent_rooms.update(load_rooms(app))
            _tell_of_absent_rooms(sys.argv[1:])
        app()
    except LakehouseError as error:
        _errors.print(f"[red]error:[/] {type(error).__name__}:", end=" ")
        _errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _needs_rooms(arguments: list[str]) -> bool:
    own = {
        "up",
        "down",
        "status",
        "artifacts",
        "stack",
    }  # the rest is in a room, or lists the rooms
    return not (arguments and arguments[0] in own)


def _tell_of_absent_rooms(arguments: list[str]) -> None:
    verb = next((word for word in arguments if not word.startswith("-")), None)
    if verb and verb not in typer.main.get_group(app).commands:
        for room, reason in _absent_rooms.items():
            _errors.print(f"the commands of {room} are missing: {reason}", style="yellow")


def _settings() -> Settings:
    try:
        return get_settings()
    except ValidationError as error:
        faults = [
            f"LAKEHOUSE_{str(fault['loc'][0]).upper()}={fault['input']}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise LakehouseError("; ".join(faults)) from None


def _print_status(settings: Settings) -> None:
    table = Table("process", "state", "health", "pid", "port", "memory", "up", box=None)
    entries = operations.status(settings)
    for entry in entries:
        memory = f"{entry.memory_bytes / MIB:.0f} MiB" if entry.memory_bytes else "-"
        uptime = f"{entry.uptime_seconds:.0f} s" if entry.uptime_seconds is not None else "-"
        pid, port = str(entry.pid or "-"), str(entry.port or "-")
        table.add_row(entry.name, entry.state, entry.health, pid, port, memory, uptime)
    console = Console()
    console.print(f"home {settings.home}", highlight=False, soft_wrap=True)
    console.print(table)
    if budget := sum(entry.budget_bytes or 0 for entry in entries):
        taken = sum(entry.memory_bytes or 0 for entry in entries)
        console.print(
            f"memory {taken / GIB:.1f} GiB of a budget of {budget / GIB:.1f} GiB", highlight=False
        )


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=_errors) as bar:
        task = bar.add_task(what, total=total)
        yield lambda now=what: bar.update(task, advance=1, description=now)

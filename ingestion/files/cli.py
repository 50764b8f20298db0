"""``lakehouse files``: drop files, watch the folder that they are dropped into, see what came."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pyiceberg.catalog import Catalog
from rich.console import Console
from rich.table import Table

from ingestion.files import metrics
from ingestion.files.drop_folder import DropFolder, State, as_text
from ingestion.files.loader import FileChangedError, FileLoader, utc_now
from ingestion.files.loads import FILE_LOADS, FileLoad, FileLog, Status
from ingestion.files.watcher import Watcher, settled_files
from ingestion.sending import stopped_by_signal
from lakehouse.catalog import load_catalog
from lakehouse.errors import LakehouseError, VerdictError
from lakehouse.heartbeat import Heartbeat
from lakehouse.processes import LOOPBACK
from lakehouse.settings import Settings, get_settings
from lakehouse.telemetry import MetricsHost, MetricsPort, configure_logging, serve_metrics
from schemas import file_datasets


class FileNotWaitingError(LakehouseError):
    """There is no such file in the drop folder, nor was there one."""

    exit_code = 2


class FileRefusedError(VerdictError):
    """A file was refused whole."""


class NoTablesError(LakehouseError):
    """There is nowhere to load files to."""


# As its heartbeat is known.
PROCESS = "files"

app = typer.Typer()
verbs = typer.Typer(no_args_is_help=True, help="Files: drop them, watch the folder, list them.")
app.add_typer(verbs, name="files")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Settle = Annotated[
    float, typer.Option(min=0, help="A file is taken when it has been the same for so long.")
]
SETTLE_SECONDS = 2.0


def _dataset(name: str) -> str:
    if name not in file_datasets():
        raise typer.BadParameter(f"choose from {', '.join(file_datasets())}")
    return name


@verbs.command()
def watch(
    once: Annotated[
        bool, typer.Option("--once", help="End when every file that is there is dealt with.")
    ] = False,
    settle_seconds: Settle = SETTLE_SECONDS,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
) -> None:
    """Load what is dropped into the folder until stopped: each file once, whole or not at all.

    The folder is `drop` in the home, or LAKEHOUSE_DROP_FOLDER; below it is one for each dataset.
    A file that cannot be read is left and tried again later; with --once it exits with 1 then.

    Example: lakehouse files watch --settle-seconds 5
    """
    settings = get_settings("ingest")
    configure_logging(PROCESS, settings.log_level)
    metrics.begin(file_datasets())
    if metrics_port is not None:
        serve_metrics(metrics_port, host=metrics_host)
    folder, beat = _folder(settings), Heartbeat(settings, PROCESS).beat
    loader = FileLoader(_catalog(settings), folder, beat=beat)
    watcher = Watcher(folder, loader, settle_seconds=settle_seconds)
    with stopped_by_signal() as stop:
        watcher.run(once=once, stop=stop, beat=beat, tell=_tell)
    for path, left in watcher.left.items():
        typer.echo(f"{path} was left: {left.error}", err=True)
    if once and watcher.left:
        raise typer.Exit(1)


@verbs.command()
def drop(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="CSV or JSON, gzipped or not, or Parquet.", exists=True, dir_okay=False
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            parser=_dataset,
            help="What they hold. Left out, their names must begin with it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put files into the drop folder and load them now; the files themselves stay where they are.

    Exits with 1 if one of them was refused.

    Example: lakehouse files drop instruments_2024-08-09.csv
    """
    settings = get_settings("ingest")
    configure_logging(PROCESS, settings.log_level)
    folder = _folder(settings)
    loader = FileLoader(_catalog(settings), folder)
    named = {file: dataset or folder.dataset_of(file) for file in files}
    for file, name in named.items():
        if name not in folder.datasets:
            raise typer.BadParameter(
                f"{file}: what does it hold? Say --dataset {'|'.join(folder.datasets)}"
            )
    verdicts = [loader.drop(file, name) for file, name in named.items()]
    # None: it had been loaded, and was only moved away.
    found = [verdict for verdict in verdicts if verdict is not None]
    if as_json:
        typer.echo(json.dumps([asdict(verdict) for verdict in found]))
    else:
        for verdict in found:
            _tell(verdict)
    if any(verdict.status is Status.REFUSED for verdict in found):
        raise typer.Exit(1)


@verbs.command()
def waiting(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until stopped, with what comes.")
    ] = False,
    settle_seconds: Settle = SETTLE_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Tell of each file in the drop folder once it is whole, and load none.

    For whoever lets something else load them (`files load`). A file that was told of and has
    changed since is told of again.

    Example: lakehouse files waiting --follow
    """
    folder = _folder(get_settings("ingest"))
    with stopped_by_signal() as stop:
        for path, state in settled_files(
            folder, settle_seconds=settle_seconds, follow=follow, stop=stop
        ):
            name = as_text(path.relative_to(folder.root))
            found = {"file": name, "size": state.size, "modified_ns": state.modified_ns}
            typer.echo(json.dumps(found) if as_json else name)


@verbs.command()
def load(
    file: Annotated[Path, typer.Argument(help="Its path in the drop folder.")],
    settle_seconds: Settle = SETTLE_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Load one file of the drop folder, as `watch` does with each.

    One that was loaded already is left as it is. Exits with 3 if it is refused whole.

    Example: lakehouse files load instruments/instruments_2024-08-09.csv
    """
    settings = get_settings("ingest")
    configure_logging(PROCESS, settings.log_level)
    folder, catalog = _folder(settings), _catalog(settings)
    path = folder.root / file
    if path in folder.waiting():
        _see_that_it_settles(folder, path, settle_seconds)
        FileLoader(catalog, folder).load(path)
    # The record tells, also of what somebody else has loaded.
    verdict = FileLog(catalog, utc_now).verdict(folder.dataset_of(path), as_text(path.name))
    if verdict is None:
        raise FileNotWaitingError(
            f"{file} is not in {folder.root}, and never was: `lakehouse files list` tells what is"
        )
    if verdict["status"] == Status.REFUSED:
        raise FileRefusedError(f"{file} was refused: {verdict['detail']}")
    if as_json:
        typer.echo(json.dumps(verdict, default=str))
    else:
        rows = f"{verdict['rows_loaded']} rows, {verdict['rows_refused']} refused"
        typer.echo(f"{file}: {verdict['status']}, {rows}")


def _see_that_it_settles(folder: DropFolder, path: Path, seconds: float) -> None:
    before = State.of(path)
    time.sleep(seconds)
    if folder.waiting().get(path, before) != before:
        raise FileChangedError(f"{path} is still written to: load it when it is whole")


@verbs.command(name="list")
def list_(
    count: Annotated[int, typer.Option("--last", min=1, help="So many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the files that were dropped and what became of them, and those that wait.

    Example: lakehouse files list --last 5
    """
    settings = get_settings("ingest")
    loads = FileLog(_catalog(settings), utc_now).newest(count)
    waiting = [str(path) for path in _folder(settings).waiting()]
    if as_json:
        typer.echo(json.dumps({"loads": loads, "waiting": waiting}, default=str))
        return
    shown = Table("when", "status", "dataset", "file", "rows", "refused", "new columns", "detail")
    for load in loads:
        shown.add_row(
            f"{load['recorded_at']:%Y-%m-%d %H:%M:%S}",
            load["status"],
            load["dataset"],
            load["file_name"],
            str(load["rows_loaded"]),
            str(load["rows_refused"]),
            load["drift"] or "",
            load["detail"] or "",
        )
    Console().print(shown)
    for path in waiting:
        typer.echo(f"waiting: {path}")


def _folder(settings: Settings) -> DropFolder:
    return DropFolder(settings.drops, file_datasets())


def _catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    if not catalog.table_exists(FILE_LOADS):
        raise NoTablesError(
            f"{settings.home} has no {FILE_LOADS}: make the tables with `lakehouse up`, or with "
            "`lakehouse schemas apply`"
        )
    return catalog


def _tell(verdict: FileLoad) -> None:
    text = f"{verdict.file_name}: {verdict.status}, {verdict.rows_loaded} rows"
    if verdict.rows_refused:
        text += f", {verdict.rows_refused} refused (see bronze.dead_letters)"
    if verdict.drift:
        text += f", new columns {', '.join(verdict.drift)}"
    if verdict.detail:
        text += f"; {verdict.detail}"
    typer.echo(text)

"""``lakehouse land``."""

import signal
from threading import Event
from types import FrameType
from typing import Annotated

import typer

from ingestion.lander.lander import Lander
from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import Heartbeat
from lakehouse.processes import LOOPBACK
from lakehouse.settings import get_settings
from lakehouse.telemetry import MetricsHost, MetricsPort, configure_logging, serve_metrics
from lakehouse.tracing import configure_tracing

# As `lakehouse up` and `lakehouse status` know it.
PROCESS = "land"

app = typer.Typer()


@app.callback()
def _lander() -> None:
    """Kafka to bronze."""


@app.command()
def land(
    once: Annotated[
        bool, typer.Option("--once", help="Land what the topics hold now, then end.")
    ] = False,
    new_generation: Annotated[
        bool,
        typer.Option(
            "--new-generation",
            help="A topic was deleted and made again on purpose: land it from its beginning.",
        ),
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Go on behind events that Kafka deleted before they were landed."
        ),
    ] = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
) -> None:
    """Land the log in bronze, exactly once, until stopped (SIGTERM and Ctrl-C commit first).

    Example: lakehouse land --once
    """
    settings = get_settings("ingest")
    configure_logging(PROCESS, settings.log_level)
    configure_tracing(PROCESS, settings.otlp_endpoint)
    if metrics_port is not None:
        serve_metrics(metrics_port, host=metrics_host)
    stop = Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    lander = Lander(
        settings, load_catalog(settings), new_generation=new_generation, accept_loss=accept_loss
    )
    landed = lander.run(once=once, stop=stop, beat=Heartbeat(settings, PROCESS).beat)
    typer.echo(
        f"landed {landed.events} events and {landed.dead_letters} dead letters "
        f"in {landed.commits} commits"
    )

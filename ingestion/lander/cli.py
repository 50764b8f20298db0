"""``lakehouse land``."""

import signal
from functools import partial
from threading import Event
from types import FrameType
from typing import Annotated

import typer

from ingestion.lander.lander import Lander
from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import Heartbeat
from lakehouse.lineage import configure_lineage, lineage_run
from lakehouse.processes import LOOPBACK
from lakehouse.settings import get_settings
from lakehouse.telemetry import MetricsHost, MetricsPort, configure_logging, serve_metrics
from lakehouse.tracing import configure_tracing
from schemas import landed_topics
from schemas.flows import flow_into

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
    configure_lineage(PROCESS, settings)
    if metrics_port is not None:
        serve_metrics(metrics_port, host=metrics_host)
    stop = Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    catalog = load_catalog(settings)
    lander = Lander(settings, catalog, new_generation=new_generation, accept_loss=accept_loss)
    described = partial(flow_into, catalog=catalog, tables=landed_topics().values())
    with lineage_run(PROCESS, described, is_streaming=not once):
        landed = lander.run(once=once, stop=stop, beat=Heartbeat(settings, PROCESS).beat)
    typer.echo(
        f"landed {landed.events} events and {landed.dead_letters} dead letters "
        f"in {landed.commits} commits"
    )

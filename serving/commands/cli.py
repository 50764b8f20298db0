"""``lakehouse commands``: carry out what clients ask the API for."""

import signal
from threading import Event
from types import FrameType

import typer

from lakehouse.heartbeat import Heartbeat
from lakehouse.processes import LOOPBACK
from lakehouse.settings import get_settings
from lakehouse.telemetry import MetricsHost, MetricsPort, configure_logging, serve_metrics
from lakehouse.tracing import configure_tracing

# As `lakehouse up` and `lakehouse status` know it.
PROCESS = "commands"

app = typer.Typer(no_args_is_help=True, help="Commands of the API: carry them out.")


@app.callback()
def _commands() -> None:
    """Carry out commands."""


@app.command()
def run(metrics_port: MetricsPort = None, metrics_host: MetricsHost = LOOPBACK) -> None:
    """Send commands to the log and erase customers who asked for it, until stopped.

    Several may run: one works, and another takes over within half a minute when it is gone.

    Example: lakehouse commands run
    """
    from serving.commands.worker import Worker

    # It erases as `lakehouse erase` does, and writes to the log as producers do.
    settings, log = get_settings(), get_settings("ingest")
    configure_logging(PROCESS, settings.log_level)
    configure_tracing(PROCESS, settings.otlp_endpoint)
    if metrics_port is not None:
        serve_metrics(metrics_port, host=metrics_host)
    stop = Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    Worker(settings, log=log).run(stop, Heartbeat(settings, PROCESS).beat)

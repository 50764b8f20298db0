"""``lakehouse live``."""

import signal
from threading import Event

import typer

from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import Heartbeat
from lakehouse.processes import LOOPBACK
from lakehouse.settings import get_settings
from lakehouse.telemetry import MetricsHost, MetricsPort, configure_logging, serve_metrics
from lakehouse.tracing import configure_tracing

# As `lakehouse up` and `lakehouse status` know it.
PROCESS = "live"

app = typer.Typer()


@app.command()
def live(metrics_port: MetricsPort = None, metrics_host: MetricsHost = LOOPBACK) -> None:
    """Keep open minutes and positions milliseconds behind the log, until stopped.

    Each row that changes is sent to a compacted topic: live.bars_1m, live.spreads_1m,
    live.positions. It begins with what silver has seen, and with the log from there on.

    Example: lakehouse live --metrics-port 9106
    """
    from serving.live.tail import Tail

    settings = get_settings("serving")
    configure_logging(PROCESS, settings.log_level)
    configure_tracing(PROCESS, settings.otlp_endpoint)
    if metrics_port is not None:
        serve_metrics(metrics_port, host=metrics_host)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Tail(settings, load_catalog(settings)).run(stop, Heartbeat(settings, PROCESS).beat)

"""``lakehouse metrics``."""

import signal
from threading import Event

import typer
from prometheus_client import REGISTRY

from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import Heartbeat
from lakehouse.processes import LOOPBACK
from lakehouse.settings import get_settings
from lakehouse.stack.installation import PORTS
from lakehouse.telemetry import MetricsHost, MetricsPort, configure_logging, serve_metrics

# As its heartbeat and Prometheus's job are named.
PROCESS = "metrics"
# Where the stack's is, too.
DEFAULT_PORT = PORTS[f"{PROCESS}-metrics"]

app = typer.Typer()


@app.command()
def metrics(metrics_port: MetricsPort = DEFAULT_PORT, metrics_host: MetricsHost = LOOPBACK) -> None:
    """Serve what the lake's metadata and audit tables know as Prometheus metrics, until stopped.

    A source that is away is told as lakehouse_exporter_up 0; the others are served on.

    Example: lakehouse metrics --metrics-port 9103
    """
    from serving.exporter.exporter import lake_exporter

    settings = get_settings("serving")
    configure_logging(PROCESS, settings.log_level)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    exporter = lake_exporter(settings, lambda: load_catalog(settings))
    REGISTRY.register(exporter)
    if metrics_port is not None:
        serve_metrics(metrics_port, host=metrics_host)
    exporter.run(stop, Heartbeat(settings, PROCESS).beat)

"""``lakehouse speed``: the speed layer as a process."""

import signal
from collections.abc import Callable
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import Heartbeat
from lakehouse.lineage import configure_lineage, lineage_run
from lakehouse.processes import LOOPBACK
from lakehouse.settings import get_settings
from lakehouse.telemetry import MetricsHost, MetricsPort, configure_logging, serve_metrics
from lakehouse.tracing import configure_tracing
from schemas.flows import flow_into

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from speed.flow import Flow

# A micro-batch is small and always of the same shape: there is nothing to adapt to or to divide.
SMALL_AND_OFTEN = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    # Each flow asks the log for news; ten times a second is as good as Spark's hundred, and an idle
    # flow then costs neither it nor the broker a noticeable share of a core.
    "spark.sql.streaming.pollingDelay": "100ms",
    # More micro-batches than could end between two looks at what they report.
    "spark.sql.streaming.numRecentProgressUpdates": "10",
}

app = typer.Typer()


@app.command()
def speed(
    once: Annotated[
        bool, typer.Option("--once", help="Stop at the end of the log as it is now.")
    ] = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
) -> None:
    """Keep the provisional rows of the merged view seconds behind the log.

    Reads Kafka from where it stopped. A first start begins where batch's coverage ends.

    Example: lakehouse speed --once
    """
    from lakehouse.spark import spark_session
    from speed.flows import FLOWS
    from speed.query import run_query
    from speed.together import run_together

    settings = get_settings("speed")
    configure_logging("speed", settings.log_level)
    configure_tracing("speed", settings.otlp_endpoint)
    configure_lineage("speed", settings)
    if metrics_port is not None:
        serve_metrics(metrics_port, host=metrics_host)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    catalog = load_catalog(settings)
    session = partial(spark_session, settings, "speed", **SMALL_AND_OFTEN)
    one_at_a_time = Lock()

    def shared_session() -> "SparkSession":
        with one_at_a_time:
            return session()

    def run(flow: "Flow", beat: Callable[[], None]) -> None:
        described = partial(flow_into, catalog=catalog, tables=flow.tables)
        with lineage_run(f"speed.{flow.name}", described, is_streaming=not once):
            run_query(shared_session, settings, catalog, flow, once=once, stop=stop, beat=beat)

    try:
        run_together(FLOWS, run, stop=stop, beat=Heartbeat(settings, "speed").beat)
    finally:
        session().stop()

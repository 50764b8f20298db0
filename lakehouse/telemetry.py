"""Structured logs on standard error, and a page of metrics for Prometheus."""

import platform
import sys
from importlib.metadata import version
from typing import Annotated, TextIO
from wsgiref.simple_server import WSGIServer

import structlog
import typer
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Info,
    disable_created_metrics,
    start_http_server,
)
from structlog.typing import Processor

from lakehouse.processes import LOOPBACK
from lakehouse.tracing import add_trace

# As every long-running verb has them.
MetricsPort = Annotated[
    int | None, typer.Option(help="Serve metrics for Prometheus on this port; 0 picks one.")
]
MetricsHost = Annotated[
    str, typer.Option(help="Address to serve metrics on; 0.0.0.0 where a container's host asks.")
]
BUILD = Info("lakehouse_build", "What runs here: the platform's version and Python's.")


def configure_logging(process: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send this process's logs to ``stream``: JSON lines, or aligned text on a terminal.

    Args:
        process: Stands in every line.
        level: Lowest level that is logged, by its name.
        stream: Standard error when not given.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    style: list[Processor] = (
        # Without the values of variables, which another formatter adds: secrets are among them.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if (stream or sys.stderr).isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *style],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Looked up at each use: who runs a command inside a program may have swapped it since.
        logger_factory=lambda *_: structlog.WriteLogger(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)


def prepare_metrics() -> None:
    """Have this process's metrics say what runs here, and nothing that nobody asks for."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # when a counter began, as a series of its own
    BUILD.info({"version": version("lakehouse"), "python": platform.python_version()})


def serve_metrics(
    port: int, registry: CollectorRegistry = REGISTRY, *, host: str = LOOPBACK
) -> WSGIServer:
    """Serve ``registry`` for Prometheus until the process ends.

    Args:
        port: Where to listen; 0 asks for a free one, which the returned server knows.
        registry: What to serve.
        host: Address to listen on; this machine alone unless told otherwise.

    Raises:
        OSError: The port is taken.
    """
    prepare_metrics()
    server, _ = start_http_server(port, addr=host, registry=registry)
    return server

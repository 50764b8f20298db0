"""Structured logs on standard error, and a page of metrics for Prometheus."""

import sys
from typing import TextIO

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from structlog.typing import Processor

from lakehouse.processes import LOOPBACK


def configure_logging(process: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send this process's logs to ``stream``: JSON lines, or aligned text on a terminal.

    Args:
        process: Stands in every line.
        level: Lowest level that is logged, by its name.
        stream: Standard error when not given.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    style: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if stream.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *style],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)


def serve_metrics(port: int, registry: CollectorRegistry = REGISTRY) -> int:
    """Serve ``registry`` for Prometheus on this machine; return the port (0 asks for a free one).

    Raises:
        OSError: The port is taken.
    """
    server, _ = start_http_server(port, addr=LOOPBACK, registry=registry)
    return int(server.server_port)

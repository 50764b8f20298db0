"""Logs that programs read, and the page of metrics."""

import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter

from lakehouse.telemetry import configure_logging, serve_metrics


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_line_is_json_with_process_time_and_level() -> None:
    stream = io.StringIO()
    configure_logging("land", "INFO", stream)
    log = structlog.get_logger("lander")
    log.debug("hidden")
    log.warning("committed", rows=3)
    [line] = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert line["timestamp"].endswith("Z")
    del line["timestamp"]
    assert line == {"event": "committed", "level": "warning", "process": "land", "rows": 3}


def test_an_exception_is_in_the_line() -> None:
    stream = io.StringIO()
    configure_logging("land", "INFO", stream)
    try:
        Path("/no/such/file").read_text()
    except OSError:
        structlog.get_logger().exception("commit failed")
    assert "FileNotFoundError" in json.loads(stream.getvalue())["exception"]


def test_a_terminal_shows_where_an_exception_came_from_but_no_values() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure_logging("land", "INFO", stream)
    secret = "-".join(["hun", "ter"])
    try:
        Path(f"/no/such/{len(secret)}").read_text()
    except OSError:
        structlog.get_logger().exception("commit failed")
    assert "read_text()" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_metrics_are_served_on_this_machine() -> None:
    registry = CollectorRegistry()
    Counter("events", "Events seen.", registry=registry).inc(7)
    server = serve_metrics(0, registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as page:
            assert "events_total 7.0" in page.read().decode()
    finally:
        server.shutdown()
        server.server_close()

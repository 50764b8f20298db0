"""Traces reach a collector; one that is away harms nobody."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import pytest
import structlog
import yaml
from pydantic import ValidationError
from trace_collector import TraceCollector, trace_collector

from lakehouse.infra import infra_file
from lakehouse.otlp import REQUEST_SECONDS, trace_provider
from lakehouse.settings import Settings
from lakehouse.telemetry import configure_logging

# What a verb does about tracing: it sends every fifth of a second here, and the rest at its end.
TRACED = """
import sys, time
from lakehouse.telemetry import configure_logging
from lakehouse.tracing import configure_tracing, describe_span, table_span
configure_logging("land")
configure_tracing("land", sys.argv[1] or None)
for number in range(5):
    with table_span("commit", "bronze.market_trades", {"lakehouse.rows": number}):
        with table_span("audit", "bronze.market_trades"):
            describe_span({"lakehouse.verdict": "AGREE"})
    time.sleep(0.3)
print("opentelemetry.sdk" in sys.modules, time.time())
"""
SENT_EVERY_MS = 200
# A request under way, one with the rest, and a slow machine.
EXIT_SECONDS = 2 * REQUEST_SECONDS + 3.0


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    with trace_collector() as running:
        yield running


def run_traced(endpoint: str) -> tuple[bool, float, list[str]]:
    """Return whether the library that sends was loaded, the seconds to end, and the log's lines."""
    done = subprocess.run(
        [sys.executable, "-c", TRACED, endpoint],
        env=os.environ | {"OTEL_BSP_SCHEDULE_DELAY": str(SENT_EVERY_MS), "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded, finished = done.stdout.split()
    return loaded == "True", time.time() - float(finished), done.stderr.splitlines()


def test_spans_arrive_under_their_process_and_below_one_another(collector: TraceCollector) -> None:
    loaded, _, said = run_traced(collector.endpoint)
    commits = collector.named("commit bronze.market_trades", "land")
    assert loaded
    assert [span.attributes.pop("lakehouse.rows") for span in commits] == [0, 1, 2, 3, 4]
    for commit in commits:
        assert commit.is_root
        assert commit.attributes == {
            "db.system.name": "iceberg",
            "db.operation.name": "commit",
            "db.collection.name": "bronze.market_trades",
        }
        [audit] = collector.steps_of(commit)
        assert audit.attributes["lakehouse.verdict"] == "AGREE"
    assert said == []


def test_without_a_collector_not_even_the_library_is_loaded() -> None:
    loaded, seconds, said = run_traced("")
    assert not loaded
    assert seconds < EXIT_SECONDS
    assert said == []


@contextmanager
def nobody() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def somebody_silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def an_unknown_name() -> Iterator[str]:
    yield "http://jaeger.invalid:4318"


@pytest.mark.parametrize("away", [nobody, somebody_silent, an_unknown_name])
def test_a_collector_that_is_away_keeps_nobody_waiting_and_is_told_of_once(away: object) -> None:
    with away() as endpoint:  # type: ignore[operator]
        _, seconds, said = run_traced(endpoint)
    assert seconds < EXIT_SECONDS
    [line] = [json.loads(text) for text in said]
    assert (line["event"], line["collector"]) == ("traces are lost", endpoint)


def test_a_collector_that_comes_back_is_told_of_too(
    collector: TraceCollector, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("land")
    provider = trace_provider("land", collector.endpoint)
    tracer = provider.get_tracer("test")
    try:
        for status in (400, 400, 200, 200):
            collector.status = HTTPStatus(status)
            tracer.start_span(f"answered {status}").end()
            provider.force_flush()
    finally:
        provider.shutdown()
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    assert [span.name for span in collector.spans] == ["answered 200"] * 2
    said = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert said == ["traces are lost", "traces are taken again"]


def test_a_line_of_the_log_names_the_span_that_it_was_written_in(
    collector: TraceCollector,
) -> None:
    stream = io.StringIO()
    configure_logging("land", "INFO", stream)
    provider = trace_provider("land", collector.endpoint)
    try:
        structlog.get_logger().info("before")
        with provider.get_tracer("test").start_as_current_span("commit"):
            structlog.get_logger().info("within")
    finally:
        provider.shutdown()
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    lines = stream.getvalue().splitlines()
    before, within = map(json.loads, lines)
    [span] = collector.spans
    assert "trace_id" not in before
    assert (within["trace_id"], within["span_id"]) == (span.trace_id.hex(), span.span_id.hex())
    # Grafana finds it in the line by a pattern of its own.
    source = yaml.safe_load(infra_file("grafana/provisioning/datasources/loki.yml").read_text())
    [field] = source["datasources"][0]["jsonData"]["derivedFields"]
    found = [re.search(field["matcherRegex"], line) for line in lines]
    assert [match and match[1] for match in found] == [None, within["trace_id"]]


@pytest.mark.parametrize("address", ["jaeger:4318", "grpc://jaeger:4317", "http://", "http:// "])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="otlp_endpoint"):
        Settings(otlp_endpoint=address)

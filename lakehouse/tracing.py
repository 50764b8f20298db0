"""Traces: what a process did, step by step, and how long each took.

Attributes are named by OpenTelemetry's semantic conventions, where these have a word for it: a
table is a collection of a database. Without a collector nothing is kept, and a span costs some
microseconds.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from structlog.typing import EventDict, WrappedLogger

from lakehouse.intervals import Interval

TOPIC = "messaging.destination.name"
MESSAGES = "messaging.batch.message_count"
MICRO_BATCH = "lakehouse.micro_batch.id"
RUN = "lakehouse.run.id"
ROWS = "lakehouse.rows"
VERDICT = "lakehouse.verdict"
OUTCOME = "lakehouse.outcome"

_tracer = trace.get_tracer("lakehouse")
_trace_context = TraceContextTextMapPropagator()


def configure_tracing(process: str, endpoint: str | None) -> None:
    """Send this process's traces to a collector; what is left when it ends, too.

    Args:
        process: The name of the service in every trace.
        endpoint: The collector's address, OTLP over HTTP; None for no traces.
    """
    if endpoint is None:
        return
    # A fifth of a second, for those who send alone.
    from lakehouse.otlp import trace_provider  # noqa: PLC0415

    trace.set_tracer_provider(trace_provider(process, endpoint))


def table_span(
    operation: str, table: str, attributes: Mapping[str, AttributeValue] | None = None
) -> AbstractContextManager[Span]:
    """Trace an operation on a table: ``commit bronze.market_trades``."""
    stated = {
        "db.system.name": "iceberg",
        "db.operation.name": operation,
        "db.collection.name": table,
    }
    return _tracer.start_as_current_span(
        f"{operation} {table}", attributes={**stated, **(attributes or {})}
    )


def micro_batch_span(topic: str, micro_batch: int) -> AbstractContextManager[Span]:
    """Trace a micro-batch of a topic's events: ``process market.trades``."""
    return _tracer.start_as_current_span(
        f"process {topic}",
        kind=SpanKind.CONSUMER,
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            TOPIC: topic,
            MICRO_BATCH: micro_batch,
        },
    )


def run_span(kind: str, dataset: str, interval: Interval) -> AbstractContextManager[Span]:
    """Trace a run of a dataset over an interval: ``batch trades``."""
    return _tracer.start_as_current_span(
        f"{kind} {dataset}",
        attributes={
            "lakehouse.dataset": dataset,
            "lakehouse.interval.start": interval.start.isoformat(),
            "lakehouse.interval.end": interval.end.isoformat(),
        },
    )


def describe_span(attributes: Mapping[str, AttributeValue]) -> None:
    """Add to the span that is at work what is known of it by now."""
    trace.get_current_span().set_attributes(attributes)


def add_trace(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Add to a line of the log which span it was written in."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = format_trace_id(context.trace_id)
        line["span_id"] = format_span_id(context.span_id)
    return line


def trace_headers(request: Mapping[str, str]) -> dict[str, str]:
    """Return the headers by which others carry on a trace: W3C's ``traceparent``, ``tracestate``.

    Args:
        request: Headers of the request that is served, in lower case. Its trace is carried on where
            none of this process is at work.
    """
    here = trace.get_current_span().get_span_context()
    context = None if here.is_valid else _trace_context.extract(request)
    headers: dict[str, str] = {}
    _trace_context.inject(headers, context)
    return headers

"""How traces are sent: OTLP over HTTP, in the background, and to the harm of nobody."""

import logging
from collections.abc import Sequence
from importlib.metadata import version

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

TRACES_PATH = "/v1/traces"
# Whoever ends waits for a request under way and for one with the rest, so this bounds that too.
REQUEST_SECONDS = 2.0
# Minutes of a busy process; when they are not taken, the oldest are lost. One request has them all.
MOST_SPANS = 2_048

_log = structlog.get_logger(__name__)


def trace_provider(process: str, endpoint: str) -> TracerProvider:
    """Return what records the traces of a process and sends them every few seconds.

    What is set by OpenTelemetry's own variables holds, such as ``OTEL_TRACES_SAMPLER``.
    """
    # It would tell of each request that failed; `_Collector` tells once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    service = {
        "service.name": process,
        "service.namespace": "lakehouse",
        "service.version": version("lakehouse"),
    }
    provider = TracerProvider(resource=Resource.create(service))
    provider.add_span_processor(
        BatchSpanProcessor(
            _Collector(endpoint), max_queue_size=MOST_SPANS, max_export_batch_size=MOST_SPANS
        )
    )
    return provider


class _Collector(SpanExporter):
    """Sends spans; says when a collector takes them no longer, and when it does again."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._exporter = OTLPSpanExporter(
            endpoint.rstrip("/") + TRACES_PATH, timeout=REQUEST_SECONDS
        )
        self._last = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans once; those that are not taken are lost."""
        result, last = self._exporter.export(spans), self._last
        self._last = result
        if result is not last:
            if result is SpanExportResult.SUCCESS:
                _log.info("traces are taken again", collector=self._endpoint)
            else:
                _log.warning("traces are lost", collector=self._endpoint)
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

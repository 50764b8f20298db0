"""A collector of traces for tests: it takes OTLP over HTTP, and keeps what it was sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status


class Collected(NamedTuple):
    """One span, as it came over the wire."""

    service: str
    name: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    attributes: dict[str, Any]
    failed: bool
    started: int
    ended: int

    @property
    def is_root(self) -> bool:
        return not self.parent_id


@dataclass
class TraceCollector:
    """What a collector was sent, and how it answers."""

    endpoint: str = ""
    spans: list[Collected] = field(default_factory=list)
    status: HTTPStatus = HTTPStatus.OK

    def named(self, name: str, service: str | None = None) -> list[Collected]:
        return [s for s in self.spans if s.name == name and service in (None, s.service)]

    def steps_of(self, parent: Collected) -> list[Collected]:
        """The spans right below one, in the order of their begin."""
        children = [
            span
            for span in self.spans
            if (span.trace_id, span.parent_id) == (parent.trace_id, parent.span_id)
        ]
        return sorted(children, key=lambda span: span.started)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Collected(
                            service,
                            span.name,
                            span.trace_id,
                            span.span_id,
                            span.parent_span_id,
                            _values(span.attributes),
                            span.status.code == Status.STATUS_CODE_ERROR,
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                        )
                    )


@contextmanager
def trace_collector() -> Iterator[TraceCollector]:
    """Run a collector on a port of its own."""
    collector = TraceCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if collector.status == HTTPStatus.OK:
                collector.take(body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _values(attributes: "Any | list[KeyValue]") -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value"))

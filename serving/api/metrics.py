"""What the API tells Prometheus, beside the process's own."""

from prometheus_client import Counter, Gauge, Histogram

# From a cached answer to the longest deadline.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUEST_SECONDS = Histogram(
    "lakehouse_api_request_seconds",
    "Time from a request to the start of its answer.",
    ("route", "method", "status"),
    buckets=_BUCKETS,
)
ENGINE_SECONDS = Histogram(
    "lakehouse_api_engine_seconds",
    "Time of one page at the SQL engine.",
    buckets=_BUCKETS,
)
CACHE = Counter(
    "lakehouse_api_cache",
    "Questions by what the cache did: hit, waited for another's answer, miss, stale.",
    ("outcome",),
)
REFUSED = Counter(
    "lakehouse_api_refused",
    "Requests refused: by the rate limit, the bulkhead, the breaker, or their deadline.",
    ("cause",),
)
DEGRADED = Counter(
    "lakehouse_api_degraded", "Answers marked as degraded, by where they came from.", ("source",)
)
READY = Gauge("lakehouse_api_ready", "Whether the API is ready for requests; 0 or 1.")
STREAM_CLIENTS = Gauge("lakehouse_api_stream_clients", "Readers of the stream at present.")
STREAM_EVENTS = Counter("lakehouse_api_stream_events", "Events sent to readers of the stream.")

"""What the live tier counts; docs/metrics.md has a line on each."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("lakehouse_live_events", "Events of the log read.", ["topic"])
REFUSED = Counter("lakehouse_live_refused", "Events that count nothing.", ["topic", "reason"])
ROWS = Counter("lakehouse_live_rows", "Rows told.", ["relation"])
LAG = Gauge("lakehouse_live_lag_events", "Events in the log and not read.", ["topic"])
DELAY_SECONDS = Histogram(
    "lakehouse_live_delay_seconds",
    "From the log's timestamp of the oldest event of a look at the log to its rows' sending.",
    ["topic"],
    # From a few polls to a start that has much to read.
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)
WAITING = Gauge(
    "lakehouse_live_waiting",
    "Minutes and clients whose events wait for what silver knows of them.",
    ["relation"],
)
LEFT_OUT = Counter(
    "lakehouse_live_left_out", "Minutes and clients that had to wait for too much.", ["relation"]
)
READ_SECONDS = Histogram(
    "lakehouse_live_read_seconds",
    "Time of one read of silver for minutes and clients that wait.",
    ["relation"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
FAILURES = Counter(
    "lakehouse_live_failures", "Reads of silver that failed and come again.", ["relation"]
)

"""What the lander counts; docs/metrics.md has a line on each."""

import re
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import Counter, Gauge, Histogram

from lakehouse.histograms import ArrayHistogram

EVENTS = Counter("lakehouse_lander_events", "Events landed in bronze.", ["topic"])
BYTES = Counter("lakehouse_lander_bytes", "Payload bytes landed in bronze.", ["topic"])
DEAD_LETTERS = Counter("lakehouse_lander_dead_letters", "Messages refused.", ["topic", "reason"])
RETRIES = Counter("lakehouse_lander_retries", "Attempts that failed and came again.", ["operation"])
LAG = Gauge("lakehouse_lander_lag_events", "Events in the log and not yet in bronze.", ["topic"])
EVENT_DELAY_SECONDS = ArrayHistogram(
    "lakehouse_lander_event_delay_seconds",
    "From the log's timestamp of an event to its commit in bronze.",
    ["topic"],
)
COMMIT_SECONDS = Histogram(
    "lakehouse_lander_commit_seconds",
    "Time of one commit, the file and the retries included.",
    ["table"],
    # From a heartbeat on a local disk to a full batch on a slow object store.
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
EXPIRED = Counter("lakehouse_lander_expired_snapshots", "Snapshots expired.", ["table"])

# A producer's reason comes with the message, so anybody could make one up; each is a time series.
MOST_REASONS = 64
OTHER = "other"
_REASON = re.compile(r"[a-z][a-z0-9_]{0,47}")
_reasons: set[str] = set()


def count_dead_letters(rows: pa.Table) -> None:
    """Count committed dead letters by topic and reason."""
    for found in rows.group_by(["topic", "reason"]).aggregate([([], "count_all")]).to_pylist():
        labels = {"topic": found["topic"], "reason": known_reason(found["reason"])}
        DEAD_LETTERS.labels(**labels).inc(found["count_all"])


def known_reason(reason: str) -> str:
    """Return the reason, or ``other`` when it is no word or one too many."""
    if reason in _reasons:
        return reason
    if len(_reasons) >= MOST_REASONS or _REASON.fullmatch(reason) is None:
        return OTHER
    _reasons.add(reason)
    return reason


def count_events(rows: pa.Table, topic: str) -> None:
    """Count committed events, their bytes, and how long each had been in the log."""
    EVENTS.labels(topic=topic).inc(len(rows))
    if not len(rows):
        return
    BYTES.labels(topic=topic).inc(pc.sum(pc.binary_length(rows["payload"])).as_py() or 0)
    stamps = rows["kafka_timestamp"].cast(pa.int64()).to_numpy()
    stamped = stamps[stamps > 0]  # a message may have come without a timestamp
    delays = np.maximum(time.time() - stamped / 1e6, 0.0)
    EVENT_DELAY_SECONDS.observe(delays, topic)

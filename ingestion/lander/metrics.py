"""What the lander counts."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("lakehouse_lander_events", "Events landed in bronze.", ["topic"])
DEAD_LETTERS = Counter("lakehouse_lander_dead_letters", "Messages refused.", ["topic", "reason"])
RETRIES = Counter("lakehouse_lander_retries", "Attempts that failed and came again.", ["operation"])
LAG = Gauge("lakehouse_lander_lag_events", "Events in the log and not yet in bronze.", ["topic"])
COMMIT_SECONDS = Histogram(
    "lakehouse_lander_commit_seconds",
    "Time of one commit, the file included.",
    ["table"],
    # From a heartbeat on a local disk to a full batch on a slow object store.
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

"""What the speed layer counts; docs/metrics.md has a line on each.

Most of it is what Spark reports of each micro-batch: taken from there, it costs the query nothing.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from threading import Lock
from typing import Any

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from lakehouse.histograms import ArrayHistogram

# Name under which a micro-batch's own observations are found in Spark's report of it.
OBSERVATION = "log"
# What a query says when its last look at the log found nothing new.
NOTHING_TO_READ = "Waiting for data to arrive"

EVENTS = Counter("lakehouse_speed_events", "Events of the log processed.", ["topic"])
BYTES = Counter("lakehouse_speed_bytes", "Payload bytes of the log processed.", ["topic"])
BATCH_SECONDS = Histogram(
    "lakehouse_speed_batch_seconds",
    "Time of one micro-batch with events, from its trigger to its end.",
    buckets=(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60),
)
STAGE_SECONDS = Counter(
    "lakehouse_speed_stage_seconds", "Time of micro-batches by Spark's stages of one.", ["stage"]
)
LAG = Gauge("lakehouse_speed_lag_events", "Events in the log beyond the last batch.", ["topic"])
NEWEST_DELAY_SECONDS = ArrayHistogram(
    "lakehouse_speed_newest_event_delay_seconds",
    "From the log's timestamp of a micro-batch's newest event to the micro-batch's end.",
    ["topic"],
)
OLDEST_DELAY_SECONDS = ArrayHistogram(
    "lakehouse_speed_oldest_event_delay_seconds",
    "From the log's timestamp of a micro-batch's oldest event to the micro-batch's end.",
    ["topic"],
)
COMMIT_SECONDS = Histogram(
    "lakehouse_speed_commit_seconds",
    "Time of one append to a table of the speed layer, the rows' computation included.",
    ["table"],
    buckets=(0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30),
)
RESTARTS = Counter("lakehouse_speed_restarts", "Starts of a query after a failure.")
EXPIRED = Counter("lakehouse_speed_expired_snapshots", "Snapshots expired.", ["table"])


def observed_columns() -> list[Column]:
    """Return what Spark shall observe of the log records of a micro-batch."""
    return [
        F.sum(F.octet_length("payload")).alias("bytes"),
        F.min("kafka_timestamp").alias("oldest"),
        F.max("kafka_timestamp").alias("newest"),
    ]


class Freshness(Collector):
    """How long the oldest event that the speed layer has not committed may have been in the log.

    It is younger than the newest event that was committed, and younger than the last moment at
    which nothing was left to read; the later of the two is an upper bound of its age.

    Args:
        registry: Where it is served from.
    """

    def __init__(self, registry: CollectorRegistry | None = REGISTRY):
        self._seen_through: dict[str, float] = {}
        self._lock = Lock()
        if registry is not None:
            registry.register(self)

    def seen(self, tables: Iterable[str], through: float) -> None:
        """Note that tables have every event of theirs up to a time, in seconds since the epoch."""
        with self._lock:
            for table in tables:
                self._seen_through[table] = max(through, self._seen_through.get(table, through))

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the family without values."""
        yield self._family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the age by table; nothing of a table before its first micro-batch."""
        family = self._family()
        with self._lock:
            seen_through = dict(self._seen_through)
        for table, through in seen_through.items():
            family.add_metric([table], max(0.0, time.time() - through))
        yield family

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "lakehouse_speed_freshness_seconds",
            "Upper bound of the age of the oldest event that readers of the table do not see.",
            labels=["table"],
        )


class BatchReports:
    """Turns Spark's reports of one flow's micro-batches into metrics, each report once."""

    def __init__(self, topic: str, tables: tuple[str, ...], freshness: Freshness) -> None:
        self._topic = topic
        self._tables = tables
        self._freshness = freshness
        self._last_batch = -1
        self._last_report: str | None = None

    def look(self, query: StreamingQuery, status: str) -> None:
        """Take what a query has reported since the last look.

        Args:
            query: The running query.
            status: What the query says it is doing.
        """
        newest = query.lastProgress
        if newest and newest["timestamp"] != self._last_report:
            self._last_report = newest["timestamp"]
            # Several may have passed since the last look.
            has_gap = newest["batchId"] > self._last_batch + 1
            for progress in query.recentProgress if has_gap else [newest]:
                self.take(json.loads(progress.json))  # PySpark's own fields mangle the offsets
        if status == NOTHING_TO_READ:
            self.caught_up()

    def take(self, report: Mapping[str, Any]) -> None:
        """Take one report; one that was taken before, or of a trigger without events, adds none."""
        behind = _offsets_behind(report)
        LAG.labels(topic=self._topic).set(behind)
        if report["batchId"] <= self._last_batch or not report["numInputRows"]:
            return
        self._last_batch = report["batchId"]
        durations = report["durationMs"]
        began = datetime.fromisoformat(report["timestamp"]).timestamp()
        seconds = durations["triggerExecution"] / 1000
        EVENTS.labels(topic=self._topic).inc(report["numInputRows"])
        BATCH_SECONDS.observe(seconds)
        for stage, milliseconds in durations.items():
            if stage != "triggerExecution":  # the sum of the others
                STAGE_SECONDS.labels(stage=stage).inc(milliseconds / 1000)
        self._take_observed(report.get("observedMetrics", {}).get(OBSERVATION), began + seconds)
        if not behind:
            self._freshness.seen(self._tables, began)

    def caught_up(self) -> None:
        """Note that the log holds nothing that was not processed."""
        LAG.labels(topic=self._topic).set(0)
        self._freshness.seen(self._tables, time.time())

    def _take_observed(self, observed: Mapping[str, Any] | None, ended: float) -> None:
        if not observed or not observed.get("newest"):
            return
        BYTES.labels(topic=self._topic).inc(observed["bytes"] or 0)
        oldest, newest = (
            datetime.fromisoformat(observed[name]).timestamp() for name in ("oldest", "newest")
        )
        NEWEST_DELAY_SECONDS.observe(np.asarray([max(0.0, ended - newest)]), self._topic)
        OLDEST_DELAY_SECONDS.observe(np.asarray([max(0.0, ended - oldest)]), self._topic)
        self._freshness.seen(self._tables, newest)


def _offsets_behind(report: Mapping[str, Any]) -> int:
    behind = 0
    for source in report["sources"]:
        ends, latest = _offsets(source.get("endOffset")), _offsets(source.get("latestOffset"))
        behind += sum(max(0, latest[at] - ends.get(at, 0)) for at in latest)
    return behind


def _offsets(stated: Mapping[str, Mapping[str, int]] | None) -> dict[tuple[str, str], int]:
    """Return offsets by topic and partition."""
    return {(topic, p): at for topic, parts in (stated or {}).items() for p, at in parts.items()}

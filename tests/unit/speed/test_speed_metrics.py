"""Spark's reports of micro-batches as metrics."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from speed.metrics import NOTHING_TO_READ, BatchReports, Freshness

TABLES = ("silver.trades_rt", "gold.bars_1m_rt")
PROCESSING = "Processing new data"


def at(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def report(batch: int, *, rows: int = 10, began: float, behind: int = 0) -> dict[str, Any]:
    """A report as Spark 4.1 writes it, of what is read here."""
    ends = {"t": {"0": 100, "1": 50}}
    observed = {"bytes": rows * 7, "oldest": at(began - 3), "newest": at(began - 1)}
    return {
        "batchId": batch,
        "timestamp": at(began),
        "numInputRows": rows,
        "durationMs": {"addBatch": 1500, "walCommit": 500, "triggerExecution": 2000},
        "sources": [{"endOffset": ends, "latestOffset": {"t": {"0": 100 + behind, "1": 50}}}],
        "observedMetrics": {"log": observed} if rows else {},
    }


class Progress(dict[str, Any]):
    """As PySpark hands out a report: a mapping that knows its JSON."""

    @property
    def json(self) -> str:
        return json.dumps(self)


@dataclass
class Query:
    """As much of a streaming query as is looked at."""

    recentProgress: list[Progress] = field(default_factory=list)  # noqa: N815 - PySpark's name

    @property
    def lastProgress(self) -> Progress | None:  # noqa: N802 - PySpark's name
        return self.recentProgress[-1] if self.recentProgress else None


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return request.node.name


def value(name: str, topic: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"topic": topic} | labels) or 0.0


def age(freshness: Freshness) -> float | None:
    [family] = freshness.collect()
    values = {sample.labels["table"]: sample.value for sample in family.samples}
    assert set(values) in (set(), set(TABLES))
    return values.get(TABLES[0])


def test_a_batch_is_taken_once(topic: str) -> None:
    now = time.time()
    reports = BatchReports(topic, TABLES, Freshness(None))
    query = Query([Progress(report(7, began=now - 5, behind=4))])
    for _ in range(3):
        reports.look(query, PROCESSING)  # type: ignore[arg-type]
    assert value("lakehouse_speed_events_total", topic) == 10
    assert value("lakehouse_speed_bytes_total", topic) == 70
    assert value("lakehouse_speed_lag_events", topic) == 4
    # It ended two seconds after it began: three after its newest event, five after its oldest.
    newest, oldest = (
        f"lakehouse_speed_{which}_event_delay_seconds_sum" for which in ("newest", "oldest")
    )
    assert value(newest, topic) == pytest.approx(3, abs=0.01)
    assert value(oldest, topic) == pytest.approx(5, abs=0.01)


def test_batches_between_two_looks_are_not_lost(topic: str) -> None:
    reports, now = BatchReports(topic, TABLES, Freshness(None)), time.time()
    query = Query([Progress(report(1, began=now - 9))])
    reports.look(query, PROCESSING)  # type: ignore[arg-type]
    query.recentProgress += [Progress(report(n, began=now - 9 + n)) for n in (2, 3, 4)]
    reports.look(query, PROCESSING)  # type: ignore[arg-type]
    assert value("lakehouse_speed_events_total", topic) == 40


def test_a_trigger_without_events_counts_nothing(topic: str) -> None:
    reports, now = BatchReports(topic, TABLES, Freshness(None)), time.time()
    idle = report(3, rows=0, began=now - 1)
    reports.look(Query([Progress(idle)]), PROCESSING)  # type: ignore[arg-type]
    assert value("lakehouse_speed_events_total", topic) == 0
    busy = Query([Progress(idle), Progress(report(3, began=now))])
    reports.look(busy, PROCESSING)  # type: ignore[arg-type]
    assert value("lakehouse_speed_events_total", topic) == 10


def test_freshness_is_unknown_until_something_is() -> None:
    assert age(Freshness(None)) is None


def test_while_behind_readers_see_up_to_the_newest_event(topic: str) -> None:
    freshness, now = Freshness(None), time.time()
    BatchReports(topic, TABLES, freshness).take(report(1, began=now - 60, behind=5))
    assert age(freshness) == pytest.approx(61, abs=1)


def test_a_batch_that_read_all_shows_all_that_was_there_when_it_began(topic: str) -> None:
    freshness, now = Freshness(None), time.time()
    BatchReports(topic, TABLES, freshness).take(report(1, began=now - 60))
    assert age(freshness) == pytest.approx(60, abs=1)


def test_with_nothing_left_to_read_all_is_fresh_and_time_never_goes_back(topic: str) -> None:
    freshness, now = Freshness(None), time.time()
    reports = BatchReports(topic, TABLES, freshness)
    reports.look(Query(), NOTHING_TO_READ)  # type: ignore[arg-type]
    assert age(freshness) == pytest.approx(0, abs=1)
    reports.take(report(1, began=now - 60))
    assert age(freshness) == pytest.approx(0, abs=1)

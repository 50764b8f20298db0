"""What the lander counts of what it has committed."""

import time

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from ingestion.lander import metrics


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def events(*ages_seconds: float | None) -> pa.Table:
    now = time.time()
    stamps = [0 if age is None else int((now - age) * 1e6) for age in ages_seconds]
    return pa.table(
        {
            "payload": pa.array([b"12345"] * len(stamps), pa.binary()),
            "kafka_timestamp": pa.array(stamps).cast(pa.timestamp("us", "UTC")),
        }
    )


def test_events_bytes_and_delays_are_counted() -> None:
    metrics.count_events(events(0.3, 20, None), "test.counted")
    assert value("lakehouse_lander_events_total", topic="test.counted") == 3
    assert value("lakehouse_lander_bytes_total", topic="test.counted") == 15
    delay = "lakehouse_lander_event_delay_seconds"
    assert value(f"{delay}_count", topic="test.counted") == 2  # one had no timestamp
    assert value(f"{delay}_bucket", topic="test.counted", le="10.0") == 1
    assert value(f"{delay}_bucket", topic="test.counted", le="30.0") == 2


def test_a_commit_without_events_makes_the_counter_known() -> None:
    metrics.count_events(events(), "test.nothing")
    assert (
        REGISTRY.get_sample_value("lakehouse_lander_events_total", {"topic": "test.nothing"}) == 0
    )


def test_dead_letters_are_counted_by_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_reasons", set())
    rows = pa.table({"topic": ["test.dead"] * 3, "reason": ["empty", "empty", "DROP TABLE; --"]})
    metrics.count_dead_letters(rows)
    name = "lakehouse_lander_dead_letters_total"
    assert value(name, topic="test.dead", reason="empty") == 2
    assert value(name, topic="test.dead", reason="other") == 1


def test_nobody_can_make_more_series_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_reasons", set())
    names = {metrics.known_reason(f"reason_{number}") for number in range(1000)}
    assert len(names) == metrics.MOST_REASONS + 1
    assert metrics.known_reason("reason_0") == "reason_0"

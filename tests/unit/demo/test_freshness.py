"""The probe's arithmetic, on a log and a view that the test moves by hand."""

import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaException, TopicPartition

from demo import freshness
from demo.freshness import Freshness, FreshnessProbe, polling
from lakehouse.positions import LogPosition

DEADLINE_SECONDS = 30.0
BTC, ETH = "binance_spot:BTCUSDT", "binance_spot:ETHUSDT"


class FakeMessage:
    def __init__(self, partition: int, offset: int, key: str, sent_at: float, error: Any = None):
        self._parts = (partition, offset, key.encode(), sent_at, error)

    def partition(self) -> int:
        return int(self._parts[0])

    def offset(self) -> int:
        return int(self._parts[1])

    def key(self) -> bytes:
        return self._parts[2]  # type: ignore[return-value]

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, round(self._parts[3] * 1000)

    def error(self) -> Any:
        return self._parts[4]


class FakeLog:
    """Stands for a consumer: hands out what has been appended since the probe was made."""

    def __init__(self, ends: Mapping[int, int]) -> None:
        self.ends = dict(ends)
        self.messages: list[FakeMessage] = []
        self.assigned: list[TopicPartition] = []

    def append(self, partition: int, key: str, sent_at: float) -> int:
        offset = self.ends[partition]
        self.ends[partition] += 1
        self.messages.append(FakeMessage(partition, offset, key, sent_at))
        return offset

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=dict(self.ends))})

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, self.ends[place.partition]

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned = places

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken

    def close(self) -> None:
        pass


class Bench:
    """A probe with its log, its view and its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.log = FakeLog({0: 0, 1: 100})
        self.view: dict[str, int] = {}
        self.now = 1000.0
        self.asked = 0
        monkeypatch.setattr(freshness, "Consumer", lambda _: self.log)
        self.probe = FreshnessProbe(
            {"bootstrap.servers": "nowhere"},
            "topic",
            self._answer,
            clock=lambda: self.now,
            **options,
        )

    def _answer(self) -> Mapping[str, int]:
        self.asked += 1
        return dict(self.view)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_percentiles_are_values_that_were_measured() -> None:
    found = Freshness.of([float(n) for n in range(100, 0, -1)])
    assert found == Freshness(
        events=100, p50_seconds=50, p95_seconds=95, p99_seconds=99, max_seconds=100
    )


def test_one_measurement_is_every_percentile() -> None:
    found = Freshness.of([0.25])
    assert found is not None
    assert (found.p50_seconds, found.p99_seconds, found.max_seconds) == (0.25, 0.25, 0.25)


def test_nothing_measured_is_not_zero() -> None:
    assert Freshness.of([]) is None


def test_an_event_is_seen_when_the_view_has_reached_its_position(bench: Bench) -> None:
    first = bench.log.append(0, BTC, sent_at=999.0)
    bench.log.append(0, BTC, sent_at=999.5)
    bench.view[BTC] = first
    bench.probe.poll()
    assert bench.probe.produced == 2
    assert bench.probe.unseen == 1
    bench.now, bench.view[BTC] = 1003.0, first + 1
    bench.probe.poll()
    assert bench.probe.unseen == 0
    found = bench.probe.freshness()
    assert found is not None
    assert (found.events, found.p50_seconds, found.max_seconds) == (2, 1.0, 3.5)


def test_what_is_not_visible_is_not_measured(bench: Bench) -> None:
    bench.log.append(0, BTC, sent_at=1.0)
    bench.probe.poll()
    assert bench.probe.freshness() is None
    assert bench.probe.unseen == 1


def test_one_instrument_says_nothing_of_another_in_the_same_partition(bench: Bench) -> None:
    bench.log.append(0, BTC, sent_at=999.0)
    bench.view[ETH] = bench.log.append(0, ETH, sent_at=999.0)
    bench.probe.poll()
    assert bench.probe.unseen == 1


def test_only_what_is_sent_from_now_on_counts(bench: Bench) -> None:
    assert {place.partition: place.offset for place in bench.log.assigned} == {0: 0, 1: 100}
    bench.log.append(1, BTC, sent_at=999.0)
    bench.probe.poll()
    assert bench.probe.produced == 1
    assert bench.probe.next_offsets == {0: 0, 1: 101}


def test_positions_of_a_later_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, generation=2)
    offset = bench.log.append(0, BTC, sent_at=999.0)
    bench.view[BTC] = LogPosition(1, 10**9).encode()
    bench.probe.poll()
    assert bench.probe.unseen == 1
    bench.view[BTC] = LogPosition(2, offset).encode()
    bench.probe.poll()
    assert bench.probe.unseen == 0


def test_sampling_keeps_every_nth_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, sample_every=10)
    last = [bench.log.append(0, BTC, sent_at=999.0) for _ in range(100)][-1]
    bench.view[BTC] = last
    bench.probe.poll()
    found = bench.probe.freshness()
    assert bench.probe.produced == 100
    assert found is not None
    assert found.events == 10


def test_a_cold_start_is_told_apart(bench: Bench) -> None:
    bench.log.append(0, BTC, sent_at=990.0)
    bench.view[BTC] = 0
    bench.probe.poll()
    bench.log.append(0, BTC, sent_at=1001.0)
    bench.now, bench.view[BTC] = 1001.5, 1
    bench.probe.poll()
    overall, warm = bench.probe.freshness(), bench.probe.warm()
    assert bench.probe.warm_up_seconds == 10.0
    assert overall is not None
    assert warm is not None
    assert (overall.events, overall.max_seconds) == (2, 10.0)
    assert (warm.events, warm.max_seconds) == (1, 0.5)


def test_recent_looks_at_the_moment_of_seeing(bench: Bench) -> None:
    bench.view[BTC] = bench.log.append(0, BTC, sent_at=999.0)
    bench.probe.poll()
    bench.now = 1020.0
    assert bench.probe.recent(10.0) is None
    assert bench.probe.recent(30.0) is not None


def test_an_error_of_the_log_is_raised(bench: Bench) -> None:
    bench.log.messages.append(FakeMessage(0, 0, BTC, 0.0, error="gone"))
    with pytest.raises(KafkaException, match="gone"):
        bench.probe.poll()


def test_polling_tells_why_it_ended(bench: Bench) -> None:
    def asked_and_failed() -> None:
        bench.log.messages.append(FakeMessage(0, 0, BTC, 0.0, error="gone"))
        with polling(bench.probe, pause_seconds=0.0) as failure:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while time.monotonic() < deadline:
                failure.check()

    with pytest.raises(KafkaException, match="gone"):
        asked_and_failed()


def test_polling_ends_with_its_context(bench: Bench) -> None:
    with polling(bench.probe, pause_seconds=0.0) as failure:
        pass
    asked = bench.asked
    failure.check()
    assert bench.asked == asked
    assert not [thread for thread in threading.enumerate() if thread.name == "freshness"]

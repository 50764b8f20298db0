"""Freshness as a reader meets it: from an event's production to the query that returns it.

A probe follows the topic with a consumer of its own and notes each event's position and its Kafka
timestamp, the moment at which the broker appended it; what a producer waited to fill its request
(25 ms at most) comes before. It asks the merged view, over and over, for the
greatest ``last_offset`` of each instrument. When an answer has arrived, every event up to that
position has been seen: its freshness is that moment minus its timestamp. The pause between two
questions and the time of the query itself are in the figure, so it is never too good.

A key's events are in one partition and both layers publish them in order, so one position per
instrument stands for all events before it.
"""

import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from lakehouse.kafka import ClientSettings
from lakehouse.positions import LogPosition
from serving.engines import Engine

# A question costs some 35 ms of a core: often enough to see seconds, too seldom to cause them.
PAUSE_SECONDS = 0.15
REQUEST_SECONDS = 10.0
MESSAGES_PER_READ = 10_000

Positions = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """Seconds from production to visibility, over some number of events."""

    events: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    max_seconds: float

    @classmethod
    def of(cls, seconds: list[float]) -> Self | None:
        """Summarise by nearest rank: every percentile is a value that was measured."""
        if not seconds:
            return None
        ordered = sorted(seconds)
        p50, p95, p99 = (
            round(ordered[math.ceil(share * len(ordered)) - 1], 3) for share in (0.5, 0.95, 0.99)
        )
        return cls(
            events=len(ordered),
            p50_seconds=p50,
            p95_seconds=p95,
            p99_seconds=p99,
            max_seconds=round(ordered[-1], 3),
        )


def merged_positions(engine: Engine, *, where: str = "true") -> Callable[[], Positions]:
    """Return the question to the merged view of how far each instrument has got.

    Args:
        engine: Used by nobody else meanwhile, or the wait for it is measured too.
        where: Restricts the bars that are read, such as to recent ones in a long run.
    """
    query = (
        "SELECT venue || ':' || symbol AS key, max(last_offset) AS position "
        f"FROM serving.bars_1m WHERE {where} GROUP BY 1"
    )

    def ask() -> Positions:
        return {row["key"]: row["position"] for row in engine.query(query).to_pylist()}

    return ask


class FreshnessProbe:
    """Measures the freshness of what is sent to a topic from now on.

    Args:
        client: librdkafka's settings that lead to the topic.
        topic: Its messages are keyed ``venue:symbol``.
        visible: Returns the greatest visible position (encoded) of each key.
        generation: The topic's incarnation, which is part of a position.
        sample_every: Measure every n-th offset only, to keep a fast run's memory small.
        clock: Seconds since the epoch, on the clock that the producer's timestamps are from.

    Example:
        >>> probe = FreshnessProbe(client, topic, merged_positions(engine))  # doctest: +SKIP
        >>> with polling(probe): ...  # doctest: +SKIP
    """

    def __init__(
        self,
        client: ClientSettings,
        topic: str,
        visible: Callable[[], Positions],
        *,
        generation: int = 0,
        sample_every: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._visible = visible
        self._origin = LogPosition(generation, 0).encode()
        self._sample_every = sample_every
        self._clock = clock
        self._waiting: dict[str, deque[tuple[int, float]]] = defaultdict(deque)
        # Parallel lists, so that a moment is found by bisection.
        self._seen_at: list[float] = []
        self._seconds: list[float] = []
        self._sent_at: list[float] = []
        self._first_sent_at: float | None = None
        self._consumer = _consumer(client)
        self._starts = _ends(self._consumer, topic)
        self._next = dict(self._starts)
        self._consumer.assign([TopicPartition(topic, p, at) for p, at in self._starts.items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def poll(self) -> None:
        """Ask the view once if it lacks anything, and settle every event that the answer covers.

        Raises:
            confluent_kafka.KafkaException: The topic cannot be read.
            lakehouse.errors.LakehouseError: The view cannot be read.
        """
        self._follow_log()
        if not any(self._waiting.values()):
            return
        positions = self._visible()
        answered_at = self._clock()
        # After the answer: what it covers was in the log before it, so it is noted by now.
        self._follow_log()
        for key, position in positions.items():
            waiting = self._waiting[key]
            while waiting and waiting[0][0] <= position:
                _, sent_at = waiting.popleft()
                self._seen_at.append(answered_at)
                self._seconds.append(answered_at - sent_at)
                self._sent_at.append(sent_at)

    @property
    def produced(self) -> int:
        """Events that were sent since the probe was made."""
        return sum(self._next.values()) - sum(self._starts.values())

    @property
    def next_offsets(self) -> Mapping[int, int]:
        """For each partition, the Kafka offset after the newest event."""
        return dict(self._next)

    @property
    def unseen(self) -> int:
        """Events that were sent and that the view did not show when last asked."""
        waiting = sum(len(queue) for queue in list(self._waiting.values()))
        return waiting * self._sample_every

    @property
    def warm_up_seconds(self) -> float | None:
        """Time from the first event's production until the view showed anything at all."""
        if self._first_sent_at is None or not self._seen_at:
            return None
        return round(self._seen_at[0] - self._first_sent_at, 3)

    def freshness(self) -> Freshness | None:
        """Return the freshness of every event that has been seen; None before the first."""
        return Freshness.of(self._seconds[:])

    def recent(self, seconds: float) -> Freshness | None:
        """Return the freshness of events that became visible in the last so many seconds."""
        since = bisect_left(self._seen_at, self._clock() - seconds)
        return Freshness.of(self._seconds[since:])

    def warm(self) -> Freshness | None:
        """Return the freshness of events that were sent after the first had been seen.

        A layer that starts cold sees its first events late; they say how long it takes to start.
        """
        if not self._seen_at:
            return None
        first_seen_at = self._seen_at[0]
        measured = zip(self._sent_at[:], self._seconds[:], strict=False)
        return Freshness.of([seconds for sent_at, seconds in measured if sent_at >= first_seen_at])

    def _follow_log(self) -> None:
        while messages := self._consumer.consume(MESSAGES_PER_READ, timeout=0):
            for message in messages:
                self._note(message)

    def _note(self, message: Message) -> None:
        if (error := message.error()) is not None:
            raise KafkaException(error)
        partition, offset, key = message.partition(), message.offset(), message.key()
        if partition is None or offset is None or key is None:
            return
        self._next[partition] = offset + 1
        sent_at = message.timestamp()[1] / 1000
        if self._first_sent_at is None or sent_at < self._first_sent_at:
            self._first_sent_at = sent_at
        if offset % self._sample_every == 0:
            name = key if isinstance(key, str) else key.decode()
            self._waiting[name].append((self._origin + offset, sent_at))


class ProbeFailure:
    """What ended a probe's polling before it was told to; None while all is well."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def check(self) -> None:
        """Raise what ended the polling."""
        if self.error is not None:
            raise self.error


@contextmanager
def polling(probe: FreshnessProbe, pause_seconds: float = PAUSE_SECONDS) -> Iterator[ProbeFailure]:
    """Poll a probe in a thread of its own, so that nothing else delays its questions."""
    failure, stop = ProbeFailure(), threading.Event()

    def run() -> None:
        try:
            while not stop.wait(pause_seconds):
                probe.poll()
        except Exception as error:
            failure.error = error

    thread = threading.Thread(target=run, name="freshness", daemon=True)
    thread.start()
    try:
        yield failure
    finally:
        stop.set()
        thread.join()


def _consumer(client: ClientSettings) -> Consumer:
    return Consumer(
        {
            **client,
            "group.id": "lakehouse-freshness",  # demanded by the client; nothing is stored
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            # Only positions are wanted, and those not before the next question.
            "fetch.min.bytes": 64 * 1024,
            "fetch.wait.max.ms": 100,
            "log_level": 0,
        }
    )


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    partitions = consumer.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions
    return {
        partition: consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=REQUEST_SECONDS
        )[1]
        for partition in sorted(partitions)
    }

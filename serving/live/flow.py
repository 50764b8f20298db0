"""One stream at work: from messages of its topic to the rows that have changed."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, Future
from datetime import UTC, datetime

import structlog
from confluent_kafka import Message

from lakehouse.errors import first_line
from schemas.wire import EventCodec, UndecodableError
from serving.live import metrics
from serving.live.history import History, Rows
from serving.live.memory import Memory, Span, Waiting
from serving.live.outlet import Outlet
from serving.live.progress import Progress
from serving.live.rules import first_broken
from serving.live.stream import Stream

# Between two looks whether silver has what is waited for: the speed layer commits about as often.
LOOK_SECONDS = 1.0
PROGRESS_SECONDS = 1.0
POISON = "poison"

Read = tuple[Mapping[int, int], Rows]

_log = structlog.get_logger(__name__)


class Flow:
    """Reads one topic into memory, and tells what has changed.

    Nothing is told before everything has been read that the log held at the start: an earlier
    process may have told rows that have seen as much.

    Args:
        stream: The stream.
        codec: Reads its events.
        history: Reads its past.
        starts: By partition, the offset that messages begin at.
        ends: By partition, the offset that the log had come to at the start.
        origin: The log position of offset 0.
        poison: Log partition and position of events that were set aside.
    """

    def __init__(
        self,
        stream: Stream,
        codec: EventCodec,
        history: History,
        *,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        origin: int,
        poison: Collection[tuple[int, int]] = (),
    ) -> None:
        self.stream = stream
        self.next = dict(starts)
        self.memory = Memory(stream, {partition: origin + at for partition, at in starts.items()})
        self._codec, self._history, self._origin, self._poison = codec, history, origin, poison
        self._ends = {partition: end for partition, end in ends.items() if end > starts[partition]}
        self._reading: Future[Read] | None = None
        self._look_at = self._progress_at = float("-inf")
        self._left_out = 0
        self._oldest_us: int | None = None

    @property
    def is_behind(self) -> bool:
        """Whether what the log held at the start has not all been read."""
        return bool(self._ends)

    @property
    def is_crowded(self) -> bool:
        """Whether to wait for a read of silver before more events are taken."""
        return self._reading is not None and self.memory.is_crowded

    def take(self, message: Message) -> None:
        """Take in a message; one that is no sound event counts nothing."""
        partition, offset = message.partition() or 0, message.offset() or 0
        appended_ms = max(0, message.timestamp()[1])
        self.passed(partition, offset + 1)
        metrics.EVENTS.labels(topic=self.stream.topic).inc()
        if self._oldest_us is None:
            self._oldest_us = appended_ms * 1000
        position = self._origin + offset
        try:
            event = self._codec.decode(message.value())
        except UndecodableError as error:
            self._refuse(error.reason)
            return
        appended_at = datetime.fromtimestamp(appended_ms / 1000, UTC)
        reason = first_broken(self.stream.rules, event, appended_at)
        if (partition, position) in self._poison:
            reason = POISON
        if reason is None:
            self.memory.take(event, partition, position, appended_ms * 1000)
        else:
            self._refuse(reason)

    def passed(self, partition: int, offset: int) -> None:
        """Note that everything of a partition before an offset has been read."""
        self.next[partition] = max(self.next[partition], offset)
        if partition in self._ends and offset >= self._ends[partition]:
            del self._ends[partition]

    def read(self, executor: Executor) -> None:
        """Take in what has been read of silver, and ask for what is waited for."""
        now = time.monotonic()
        if self._reading is not None and self._reading.done():
            self._install(self._reading)
            self._reading = None
        if self.memory.waiting and self._reading is None and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            wanted = dict(self.memory.waiting)
            self._reading = executor.submit(self._read, wanted)
        metrics.WAITING.labels(relation=self.stream.relation.name).set(len(self.memory.waiting))

    def tell(self, outlet: Outlet, asked_at: float, lag: int) -> None:
        """Send the rows that have changed, and once a second how far they go.

        Args:
            outlet: Where to.
            asked_at: When the log was asked for what has been taken, in seconds since the epoch.
            lag: How many events it has beyond.
        """
        if self.is_behind:
            self.memory.settle()
            return
        relation = self.stream.relation
        for row in self.memory.changes():
            outlet.tell(relation, row)
        if self._oldest_us is not None:
            delay = max(0.0, time.time() - self._oldest_us / 1e6)
            metrics.DELAY_SECONDS.labels(topic=self.stream.topic).observe(delay)
        if asked_at - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = asked_at
            outlet.tell_progress(relation, self._progress(asked_at, lag))
        self._oldest_us = None

    def _progress(self, asked_at: float, lag: int) -> Progress:
        waits = [waiting.since / 1e6 for waiting in self.memory.waiting.values()]
        newest = self._oldest_us / 1e6 if lag and self._oldest_us is not None else asked_at
        positions = {partition: self._origin + at - 1 for partition, at in self.next.items()}
        return Progress(min([asked_at, newest, *waits]), positions)

    def _refuse(self, reason: str) -> None:
        metrics.REFUSED.labels(topic=self.stream.topic, reason=reason).inc()

    def _read(self, wanted: Mapping[Span, Waiting]) -> Read:
        """Read those spans of which silver has seen enough; in another thread."""
        with metrics.READ_SECONDS.labels(relation=self.stream.relation.name).time():
            reach = self._history.reach()
            ready = [
                span
                for span, waiting in wanted.items()
                if reach.get(waiting.partition, self._origin - 1) >= waiting.needs
            ]
            return reach, self._history.rows(ready) if ready else {}

    def _install(self, read: Future[Read]) -> None:
        try:
            reach, rows = read.result()
        except Exception as error:
            # The catalog or the store is away: what waits goes on waiting.
            metrics.FAILURES.labels(relation=self.stream.relation.name).inc()
            _log.warning("silver cannot be read", topic=self.stream.topic, error=first_line(error))
            return
        for span, found in rows.items():
            self.memory.install(span, found, reach)
        if self.memory.left_out > self._left_out:
            count = self.memory.left_out - self._left_out
            metrics.LEFT_OUT.labels(relation=self.stream.relation.name).inc(count)
            self._left_out = self.memory.left_out
        if rows:
            self._look_at = float("-inf")

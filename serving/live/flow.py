"""One stream at work: from messages of its topic to the rows that have changed."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from typing import Any, Self

import structlog
from confluent_kafka import Message

from lakehouse.errors import first_line
from schemas.registry import RegistryUnavailableError
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
# Between two questions to a registry that is away.
RETRY_SECONDS = 1.0
PROGRESS_SECONDS = 1.0
POISON = "poison"
# Of a partition's events that were set aside, the latest: rows that end with others are long gone.
POISON_TOLD = 20

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
        asked_at: When it had, in seconds since the epoch.
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
        asked_at: float,
        origin: int,
        poison: Collection[tuple[int, int]] = (),
    ) -> None:
        self.stream, self.poison = stream, poison
        self.next = dict(starts)
        self.memory = Memory(stream, {partition: origin + at for partition, at in starts.items()})
        self._codec, self._history, self._origin = codec, history, origin
        self._reading: Future[Read] | None = None
        self._look_at = self._retry_at = self._progress_at = float("-inf")
        # A message whose schema the registry is to be asked for, and the question.
        self._unread: bytes | None = None
        self._retrying: Future[Any] | None = None
        self._left_out = 0
        self._oldest_us: int | None = None
        # Where the log ended at some time and has not been read to; all that it held before that
        # time is read when nothing is left of it.
        self._asked_at, self._to_reach = asked_at, dict[int, int]()
        self._read_through: float | None = None
        self._told_through, self._has_told = asked_at, False
        self._waits_since: dict[Span, float] = {}
        self.heed(asked_at, ends)

    @property
    def is_behind(self) -> bool:
        """Whether what the log held at the start has not all been read."""
        return self._read_through is None

    @property
    def is_held(self) -> bool:
        """Whether to take no more events: silver is being read for too many, or a schema is."""
        is_crowded = self._reading is not None and self.memory.is_crowded
        return is_crowded or self._unread is not None

    def follow(self, earlier: Self) -> None:
        """Tell nothing before all has been read that an earlier flow of the stream had read."""
        for partition, at in earlier.next.items():
            if at > self.next[partition]:
                self._to_reach[partition] = max(at, self._to_reach.get(partition, at))
        if self._to_reach:
            self._read_through = None

    def take(self, message: Message) -> None:
        """Take in a message; one that is no sound event counts nothing.

        One whose schema cannot be had is not taken: the flow is held, and is to be given it again.
        """
        partition, offset = message.partition() or 0, message.offset() or 0
        appended_ms = max(0, message.timestamp()[1])
        if self.is_behind:
            self._told_through = min(self._told_through, appended_ms / 1000)
        position, event = self._origin + offset, None
        try:
            event = self._codec.decode(message.value())
        except UndecodableError as error:
            reason: str | None = error.reason
        except RegistryUnavailableError as error:
            _log.warning("a schema cannot be had", topic=self.stream.topic, error=first_line(error))
            self._unread = message.value()
            return
        else:
            appended_at = datetime.fromtimestamp(appended_ms / 1000, UTC)
            reason = first_broken(self.stream.rules, event, appended_at)
        if (partition, position) in self.poison:
            reason = POISON
        self.passed(partition, offset + 1)
        metrics.EVENTS.labels(topic=self.stream.topic).inc()
        if self._oldest_us is None:
            self._oldest_us = appended_ms * 1000
        if event is None or reason is not None:
            metrics.REFUSED.labels(topic=self.stream.topic, reason=reason).inc()
        else:
            self.memory.take(event, partition, position, appended_ms * 1000)

    def passed(self, partition: int, offset: int) -> None:
        """Note that everything of a partition before an offset has been read."""
        self.next[partition] = max(self.next[partition], offset)
        if offset >= self._to_reach.get(partition, offset + 1):
            del self._to_reach[partition]
            self._note_reached()

    def heed(self, asked_at: float, ends: Mapping[int, int]) -> None:
        """Take in where the log ends, to be read to.

        Args:
            asked_at: When that was asked, in seconds since the epoch.
            ends: By partition, the offset that the next event will get.
        """
        beyond = {partition: end for partition, end in ends.items() if end > self.next[partition]}
        lag = sum(end - self.next[partition] for partition, end in beyond.items())
        metrics.LAG.labels(topic=self.stream.topic).set(lag)
        if not self._to_reach:
            self._asked_at, self._to_reach = asked_at, beyond
            self._note_reached()

    def read(self, executor: Executor) -> None:
        """Take in what has been read of silver, and ask for what is waited for."""
        now = time.monotonic()
        if self._unread is not None:
            self._ask_registry(executor, self._unread, now)
        if self._reading is not None and self._reading.done():
            self._install(self._reading)
            self._reading = None
        if self.memory.waiting and self._reading is None and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            wanted = dict(self.memory.waiting)
            self._reading = executor.submit(self._read, wanted)
        metrics.WAITING.labels(relation=self.stream.relation.name).set(len(self.memory.waiting))

    def tell(self, outlet: Outlet) -> None:
        """Send the rows that have changed, and once a second how far they go."""
        if self._read_through is None:
            self.memory.settle()
            return
        relation = self.stream.relation
        if not self._has_told:
            self._has_told = True
            # Which poison there is comes before rows that take the place of those that had it.
            outlet.tell_progress(relation, self._progress(self._told_through))
        for row in self.memory.changes():
            outlet.tell(relation, row)
        if self._oldest_us is not None:
            delay = max(0.0, time.time() - self._oldest_us / 1e6)
            metrics.DELAY_SECONDS.labels(topic=self.stream.topic).observe(delay)
        if (now := time.monotonic()) >= self._progress_at:
            self._progress_at = now + PROGRESS_SECONDS
            outlet.tell_progress(relation, self._progress(self._read_through))
        self._oldest_us = None

    def _note_reached(self) -> None:
        if not self._to_reach:
            self._read_through = self._asked_at
            self._progress_at = float("-inf")

    def _progress(self, read_through: float) -> Progress:
        # What has begun to wait since progress was last told came after what that told of.
        self._waits_since = {
            span: self._waits_since.get(span, self._told_through) for span in self.memory.waiting
        }
        self._told_through = read_through
        positions = {partition: self._origin + at - 1 for partition, at in self.next.items()}
        through = min([read_through, *self._waits_since.values()])
        return Progress(time.time(), through, positions, self._latest_poison())

    def _latest_poison(self) -> dict[int, list[int]]:
        found = defaultdict[int, list[int]](list)
        for partition, position in sorted(self.poison):
            found[partition].append(position)
        return {partition: positions[-POISON_TOLD:] for partition, positions in found.items()}

    def _ask_registry(self, executor: Executor, unread: bytes, now: float) -> None:
        """Ask for the schema of a message, in another thread, until there is an answer."""
        if self._retrying is None:
            if now >= self._retry_at:
                self._retrying = executor.submit(self._codec.decode, unread)
        elif self._retrying.done():
            if isinstance(self._retrying.exception(), RegistryUnavailableError):
                self._retry_at = now + RETRY_SECONDS
            else:
                self._unread = None
            self._retrying = None

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

"""The live rows in memory, for whoever answers readers: followed from the compacted topics."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any, Self

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from lakehouse.kafka import GROUP_PREFIX, ClientSettings, client_settings
from lakehouse.settings import Settings
from serving.live.progress import Progress
from serving.live.relations import (
    PROGRESS_KEY,
    RELATIONS,
    LiveRow,
    Relation,
    Values,
    decode,
    instrument_of,
    key_of,
)

# Of each instrument. Whoever asks for older ones has the merged view.
REMEMBERED_MINUTES = 60
# Of each relation: some hundred bytes each, whatever names come along the log.
MOST_ROWS = 100_000
# How long a reader of a stream is left alone after news; what changes meanwhile is told at once.
PAUSE_SECONDS = 0.1
MESSAGES_PER_READ = 10_000
POLL_SECONDS = 0.2

_log = structlog.get_logger(__name__)


class LiveStore:
    """The newest row of each key, by relation; rows come and go while others read.

    Threads and event loops may share a store. It holds the last minutes of each instrument, and
    ``MOST_ROWS`` rows of a relation at most: those that changed last.

    Args:
        settings: Where the log is.
        minutes: How many minutes of each instrument are kept.

    Example:
        >>> with LiveStore(get_settings("serving")) as store:  # doctest: +SKIP
        ...     store.rows("bars_1m", prefix="binance_spot:BTCUSDT:")
    """

    def __init__(self, settings: Settings, *, minutes: int = REMEMBERED_MINUTES) -> None:
        self._settings = settings
        self._held = {name: _Held(relation, minutes) for name, relation in RELATIONS.items()}
        self._by_topic = {held.relation.topic: held for held in self._held.values()}
        self._wakers: dict[asyncio.AbstractEventLoop, set[asyncio.Event]] = defaultdict(set)
        self._lock = Lock()
        self._ready, self._stop = Event(), Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to follow the topics in a thread; returns at once."""
        client = client_settings(self._settings)
        self._thread = Thread(target=self._follow, args=(client,), name="live-store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the broker."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def wait_ready(self, seconds: float) -> bool:
        """Wait until everything that the topics held at the start is here; tell whether it is."""
        return self._ready.wait(seconds)

    def rows(self, relation: str, prefix: str = "") -> list[Values]:
        """Return a relation's rows as the merged view would show them, by key.

        Args:
            relation: Such as ``bars_1m``.
            prefix: Of the rows' keys, such as ``binance_spot:BTCUSDT:``.

        Returns:
            Values by column: decimals and times are text; ``status`` is PROVISIONAL.
        """
        found = sorted(self._rows(relation, prefix), key=lambda row: row.key)
        return [row.shown() for row in found if not row.is_tombstone]

    def merged(
        self, relation: str, rows: Iterable[Mapping[str, Any]], prefix: str = ""
    ) -> list[Values]:
        """Merge rows of the merged view with those held here: the greater ``last_offset`` wins.

        On a tie it is the merged view's: its row may be reconciled.

        Args:
            relation: Whose rows they are.
            rows: With ``last_offset`` and the columns of the relation's key.
            prefix: Of the keys of rows held here that may take part, known to the view or not.

        Returns:
            One row for each key, by key.
        """
        known = self._held[relation].relation
        merged = {key_of(known, row): dict(row) for row in rows}
        for row in self._rows(relation, prefix):
            given = merged.get(row.key)
            if given is None or given["last_offset"] < row.last_offset:
                merged[row.key] = (given or {}) | row.shown()
                if row.is_tombstone:
                    del merged[row.key]
        return [merged[key] for key in sorted(merged)]

    def positions(self) -> dict[str, int]:
        """Return where each relation's rows stand: from here on a subscription tells news only."""
        with self._lock:
            return {name: held.position for name, held in self._held.items()}

    async def subscribe(
        self,
        relations: Collection[str],
        *,
        wanted: Callable[[LiveRow], bool] = lambda _: True,
        after: Mapping[str, int] | None = None,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> AsyncIterator[LiveRow]:
        """Yield rows as they change, tombstones too; without end.

        Nothing is queued for a reader: who comes back late gets the newest row of each key that
        has changed meanwhile, once.

        Args:
            relations: Whose rows.
            wanted: Tells which of them.
            after: By relation, the position that the reader has seen; all rows that are held when
                left out.
            pause_seconds: How long the reader is left alone after having been told something.
        """
        seen = dict.fromkeys(relations, -1) | {
            name: at for name, at in (after or {}).items() if name in relations
        }
        news, wakers = asyncio.Event(), self._wakers[asyncio.get_running_loop()]
        wakers.add(news)
        try:
            while True:
                news.clear()
                for name, position in seen.items():
                    with self._lock:
                        rows = self._held[name].since(position)
                    for row in rows:
                        seen[name] = row.position
                        if wanted(row):
                            yield row
                await asyncio.sleep(pause_seconds)
                await news.wait()
        finally:
            wakers.discard(news)
            if not wakers:
                self._wakers.pop(asyncio.get_running_loop(), None)

    def progress(self, relation: str) -> Progress | None:
        """Return how far the live tier had read when it last said so; None before it has."""
        return self._held[relation].progress

    def age_seconds(self, *relations: str) -> float | None:
        """Return the greatest age that an event may have which these rows do not tell yet.

        It grows while the live tier, or the log, is away.

        Args:
            relations: Whose rows; those of all when none is named.

        Returns:
            Seconds; None while the tier has not told of one of them how far it has read.
        """
        through = [self.progress(name) for name in relations or self._held]
        told = [one.seen_through for one in through if one is not None]
        return max(0.0, time.time() - min(told)) if len(told) == len(through) else None

    def _rows(self, relation: str, prefix: str) -> list[LiveRow]:
        with self._lock:
            rows = self._held[relation].rows
            return [row for key, row in rows.items() if key.startswith(prefix)]

    def _follow(self, client: ClientSettings) -> None:
        consumer = Consumer(
            {
                **client,
                "group.id": f"{GROUP_PREFIX}live-store",  # demanded; no offset is ever stored
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                # What compaction or retention has taken away is no loss: newer rows follow.
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in self._by_topic])
        to_come = set(self._by_topic)
        try:
            while not self._stop.is_set():
                first = consumer.poll(POLL_SECONDS)
                if first is None:
                    continue
                messages = [first, *consumer.consume(MESSAGES_PER_READ, timeout=0)]
                to_come -= self._take(messages)
                if not to_come:
                    self._ready.set()
        finally:
            consumer.close()

    def _take(self, messages: Iterable[Message]) -> set[str]:
        """Take in what has come; return the topics whose end was met."""
        ended = set()
        with self._lock:
            for message in messages:
                topic, error = message.topic() or "", message.error()
                if error is None:
                    self._by_topic[topic].take(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(topic)
                else:  # librdkafka goes on trying
                    _log.warning("the live rows cannot be followed", topic=topic, error=str(error))
        for loop, wakers in list(self._wakers.items()):
            with suppress(RuntimeError):  # the loop has ended, and its readers with it
                loop.call_soon_threadsafe(_wake, wakers)
        return ended


class _Held:
    """The rows of one relation, those that changed last at the end."""

    def __init__(self, relation: Relation, minutes: int) -> None:
        self.relation = relation
        self.rows: OrderedDict[str, LiveRow] = OrderedDict()
        self.position = -1
        self.progress: Progress | None = None
        self._minutes = minutes
        self._windows: dict[str, list[str]] = defaultdict(list)

    def take(self, message: Message) -> None:
        """Take in a row, unless a newer one is here."""
        key, value, position = message.key(), message.value(), message.offset()
        if key is None or value is None or position is None:
            return
        name = key if isinstance(key, str) else key.decode()
        self.position = position
        if name == PROGRESS_KEY:
            self.progress = Progress.decode(value)
            return
        try:
            row = decode(self.relation, name, value, position)
        except (ValueError, KeyError, TypeError):
            _log.warning("no row", topic=self.relation.topic, offset=position)
            return
        known = self.rows.get(name)
        if known is not None and known.last_offset > row.last_offset:
            return
        self.rows[name] = row
        self.rows.move_to_end(name)
        if known is None:
            self._make_room(name)

    def since(self, position: int) -> list[LiveRow]:
        """Return the rows that have changed after a position, in the order in which they did."""
        found = []
        for row in reversed(self.rows.values()):
            if row.position <= position:
                break
            found.append(row)
        return found[::-1]

    def _make_room(self, name: str) -> None:
        if self.relation.has_windows:
            windows = self._windows[instrument_of(name)]
            windows.append(name)
            if len(windows) > self._minutes:
                self._forget(min(windows))
        if len(self.rows) > MOST_ROWS:
            self._forget(next(iter(self.rows)))

    def _forget(self, name: str) -> None:
        del self.rows[name]
        if self.relation.has_windows:
            windows = self._windows[instrument_of(name)]
            windows.remove(name)
            if not windows:
                del self._windows[instrument_of(name)]


def _wake(wakers: set[asyncio.Event]) -> None:
    for waker in wakers:
        waker.set()

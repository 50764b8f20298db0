"""The store of the live rows: followed from the compacted topics, while others read."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from threading import Event, Lock, Thread
from typing import Self

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from lakehouse.kafka import GROUP_PREFIX, ClientSettings, client_settings
from lakehouse.settings import Settings
from serving.live.progress import Progress
from serving.live.relations import RELATIONS, LiveRow, Values
from serving.live_rows.held import Held, Told, read

# Of each instrument. Whoever asks for older ones has the merged view.
REMEMBERED_MINUTES = 60
# How long a reader of a stream is left alone after news; what changes meanwhile is told at once.
PAUSE_SECONDS = 0.1
MESSAGES_PER_READ = 10_000
POLL_SECONDS = 0.2

_log = structlog.get_logger(__name__)


class LiveStore:
    """The newest row of each key, by relation; rows come and go while others read.

    Threads and event loops may share a store. It holds the last minutes of each instrument, and
    ``held.MOST_ROWS`` rows of a relation at most: those that changed last.

    Args:
        settings: Where the log is.
        minutes: How many minutes of each instrument are kept.

    Example:
        >>> with LiveStore(get_settings("serving")) as store:  # doctest: +SKIP
        ...     store.rows("bars_1m", prefix="binance_spot:BTCUSDT:")
    """

    def __init__(self, settings: Settings, *, minutes: int = REMEMBERED_MINUTES) -> None:
        self._settings = settings
        self._held = {name: Held(relation, minutes) for name, relation in RELATIONS.items()}
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

    def rows(
        self,
        relation: str,
        prefix: str = "",
        *,
        wanted: Callable[[LiveRow], bool] = lambda _: True,
    ) -> list[Values]:
        """Return a relation's rows as the merged view would show them, by key; see `newest`.

        Returns:
            Values by column: decimals and times are text; ``status`` is PROVISIONAL.
        """
        found = self.newest(relation, prefix, wanted=wanted)
        return [row.shown() for row in found if not row.is_tombstone]

    def newest(
        self,
        relation: str,
        prefix: str = "",
        *,
        wanted: Callable[[LiveRow], bool] = lambda _: True,
    ) -> list[LiveRow]:
        """Return the newest row of each key, by key, tombstones too: a merge hides those later.

        Args:
            relation: Such as ``bars_1m``.
            prefix: Of the rows' keys, such as ``binance_spot:BTCUSDT:``.
            wanted: Tells which of them.
        """
        with self._lock:
            rows = list(self._held[relation].rows.values())
        found = [row for row in rows if row.key.startswith(prefix) and wanted(row)]
        return sorted(found, key=lambda row: row.key)

    def whole_after(self, relation: str) -> datetime | None:
        """Return the last minute of which a row was forgotten; None while none was.

        All rows that were told of later minutes are held.
        """
        forgotten = self._held[relation].forgotten_through
        return None if forgotten is None else datetime.fromisoformat(forgotten)

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
            after: By relation, the position that the reader has seen; all rows that are held are
                told when it is left out, or lies beyond the topic's end: the topic was made anew.
            pause_seconds: How long the reader is left alone after having been told something.
        """
        seen = {name: self._held[name].known((after or {}).get(name)) for name in relations}
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

    def silent_seconds(self, *relations: str) -> float | None:
        """Return for how long the live tier has not told how far it has read.

        It grows while the live tier, or the log, is away. What was told before this store had come
        to a topic's end is of the past, and says nothing of it.

        Args:
            relations: Whose rows; the longest of all when none is named.

        Returns:
            Seconds; None while the tier has not told of one of them.
        """
        heard = [self._held[name].heard_at for name in relations or self._held]
        told = [one for one in heard if one is not None]
        return time.monotonic() - min(told) if len(told) == len(heard) else None

    def age_seconds(self, relation: str) -> float | None:
        """Return the greatest age that an event may have which a relation's rows do not tell yet.

        The live tier says how old such an event may have been; since then this clock counts. So
        the clocks of two hosts are never compared.

        Returns:
            Seconds; None while the tier has not told.
        """
        progress, silent = self.progress(relation), self.silent_seconds(relation)
        return None if progress is None or silent is None else progress.age_seconds + silent

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
        ended, news = set(), list[tuple[Held, Told | None]]()
        for message in messages:
            topic, error = message.topic() or "", message.error()
            if error is None:
                held = self._by_topic[topic]
                news.append((held, read(held.relation, message)))
            elif error.code() == KafkaError._PARTITION_EOF:
                news.append((self._by_topic[topic], None))
                ended.add(topic)
            else:  # librdkafka goes on trying
                _log.warning("the live rows cannot be followed", topic=topic, error=str(error))
        with self._lock:  # readers wait for it: what takes time has been done
            for held, told in news:
                held.take(told)
        for loop, wakers in list(self._wakers.items()):
            with suppress(RuntimeError):  # the loop has ended, and its readers with it
                loop.call_soon_threadsafe(_wake, wakers)
        return ended


def _wake(wakers: set[asyncio.Event]) -> None:
    for waker in wakers:
        waker.set()

"""The lander's loop: reads the next batch while the last one is being committed."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from time import monotonic

from confluent_kafka import KafkaException, Message
from pyiceberg.catalog import Catalog

from ingestion.lander.columns import (
    TradeSorter,
    dead_letters_of_frames,
    message_columns,
    next_offsets,
)
from ingestion.lander.feed import Feed
from ingestion.lander.log import KafkaLog
from ingestion.lander.peek import layouts
from ingestion.lander.writer import Batch, BronzeWriter, Landed
from lakehouse.errors import LakehouseError
from lakehouse.kafka import DEAD_LETTERS_TOPIC, TRADES_TOPIC, client_settings
from lakehouse.progress import Progress
from lakehouse.settings import Settings
from schemas.registry import schema_registry

# Two batches at most are in memory, one being read and one being written.
COMMIT_BYTES = 64 * 1024 * 1024
QUEUE_KBYTES = 16_384
FRAMES_QUEUE_KBYTES = 16_384
# The longest that a stop request or a frame waits while trades are quiet.
READ_SECONDS = 0.1


class LogError(LakehouseError):
    """Kafka refuses to hand out the events that come next."""


class Lander:
    """Lands ``market.trades`` and ``ingest.dead_letters`` in bronze; one at a time per lake.

    Args:
        settings: Where to read and how often to commit.
        catalog: The catalog named ``lake``, with the bronze tables in it.
        new_generation: Take a topic that has changed for a new incarnation.
        accept_loss: Go on behind events that Kafka has deleted before they were landed.

    Raises:
        TopicMissingError: A topic does not exist.
        TopicChangedError: A topic is not the one that the tables know.
        EventsLostError: Kafka has deleted events that were never landed.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        new_generation: bool = False,
        accept_loss: bool = False,
    ) -> None:
        self._settings = settings
        self._writer = BronzeWriter(
            catalog,
            KafkaLog(client_settings(settings)),
            new_generation=new_generation,
            accept_loss=accept_loss,
        )
        registry = schema_registry(settings)
        self._sorter = TradeSorter(
            registry, layouts(registry, TRADES_TOPIC), max_payload_bytes=settings.max_payload_bytes
        )
        self._trades = self._feed(self._writer.trades, QUEUE_KBYTES)
        self._frames = self._feed(self._writer.frames, FRAMES_QUEUE_KBYTES)
        self._submitted_at = monotonic()

    def run(self, *, once: bool, stop: Event, beat: Callable[[], None] = lambda: None) -> Landed:
        """Land until told to stop, or until all that the topics held at the start has landed.

        Args:
            once: End there, with a last commit that says up to when bronze is complete.
            stop: Set from elsewhere; what has been read by then is committed before the end.
            beat: Called as work goes on.

        Returns:
            What this lander has committed.

        Raises:
            FencedError: Another lander is at work.
            TopicChangedError: A topic was made again meanwhile.
            LogError: The next event cannot be had.
            UnavailableError: Kafka, the catalog or the store stayed away for too long.
        """
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="commit") as committer:
                self._loop(committer, once=once, stop=stop, beat=beat)
        finally:
            self._trades.close()
            self._frames.close()
        return self._writer.landed

    def _loop(
        self,
        committer: ThreadPoolExecutor,
        *,
        once: bool,
        stop: Event,
        beat: Callable[[], None],
    ) -> None:
        batch = Batch()
        # Records from the start which incarnation this is.
        pending = committer.submit(self._writer.write, Batch())
        while not (stop.is_set() or (once and self._drained())):
            self._read_into(batch)
            beat()
            if self._is_due(batch, pending):
                pending.result()
                self._trades.measure_lag()
                self._frames.measure_lag()
                pending = committer.submit(self._writer.write, self._closed(batch))
                batch = Batch()
        pending.result()
        if batch.rows or once:
            self._writer.write(self._closed(batch))

    def _is_due(self, batch: Batch, pending: Future[None]) -> bool:
        settings = self._settings
        if batch.rows >= settings.lander_commit_events or batch.size_bytes >= COMMIT_BYTES:
            return True  # the next read would exceed the bound: wait for the writer
        if not pending.done():
            return False
        if pending.exception() is not None:
            return True  # raises it
        if batch.opened_at is not None:
            return monotonic() - batch.opened_at >= settings.lander_commit_seconds
        return monotonic() - self._submitted_at >= settings.lander_heartbeat_seconds

    def _closed(self, batch: Batch) -> Batch:
        batch.trades_next, batch.frames_next = dict(self._trades.next), dict(self._frames.next)
        self._submitted_at = monotonic()
        return batch

    def _drained(self) -> bool:
        found = self._writer.found
        return all(feed.reached(found[feed.topic].ends) for feed in (self._trades, self._frames))

    def _read_into(self, batch: Batch) -> None:
        if messages := self._read(self._trades, READ_SECONDS):
            columns = message_columns(messages)
            found = self._sorter.sort(columns, TRADES_TOPIC)
            batch.count(columns)
            batch.accepted.append(found.accepted)
            if len(found.refused):
                batch.refused.append(found.refused)
            self._trades.advance(next_offsets(columns))
        if messages := self._read(self._frames, 0):
            columns = message_columns(messages)
            batch.count(columns)
            batch.frames.append(dead_letters_of_frames(columns, DEAD_LETTERS_TOPIC))
            self._frames.advance(next_offsets(columns))

    def _read(self, feed: Feed, seconds: float) -> list[Message]:
        try:
            return feed.read(seconds)
        except KafkaException as error:
            # A topic that was made again, or cut by retention, shows as an offset out of range.
            self._writer.check_incarnations()
            raise LogError(
                f"topic {feed.topic} cannot be read on after {feed.next}: {error.args[0].str()}. "
                "Start the lander again: it says what has changed."
            ) from error

    def _feed(self, progress: Progress, queue_kbytes: int) -> Feed:
        client = client_settings(self._settings)
        return Feed(client, progress.topic, progress.offsets, queue_kbytes=queue_kbytes)

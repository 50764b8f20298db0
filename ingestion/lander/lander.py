"""The lander's loop: reads the next batch while the last one is being committed."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from time import monotonic

from confluent_kafka import KafkaException, Message
from pyiceberg.catalog import Catalog

import schemas
from ingestion.lander.columns import (
    EventSorter,
    dead_letters_of_frames,
    message_columns,
    next_offsets,
)
from ingestion.lander.feed import Feed
from ingestion.lander.log import KafkaLog
from ingestion.lander.writer import Batch, BronzeWriter, Landed
from lakehouse.errors import LakehouseError
from lakehouse.kafka import DEAD_LETTERS_TOPIC, client_settings
from lakehouse.settings import Settings
from schemas.registry import schema_registry

# Two batches at most are in memory, one being read and one being written.
COMMIT_BYTES = 64 * 1024 * 1024
QUEUE_KBYTES = 32_768
# The longest that a stop request waits while the topics are quiet.
READ_SECONDS = 0.1


class LogError(LakehouseError):
    """Kafka refuses to hand out the events that come next."""


class Lander:
    """Lands every topic of events, and ``ingest.dead_letters``, in bronze; one at a time per lake.

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
        client = client_settings(settings)
        tables = schemas.landed_topics()
        self._writer = BronzeWriter(
            catalog,
            KafkaLog(client),
            tables,
            heartbeat=timedelta(seconds=settings.lander_heartbeat_seconds),
            new_generation=new_generation,
            accept_loss=accept_loss,
        )
        registry = schema_registry(settings)
        self._sorters = {
            topic: EventSorter(registry, topic, max_payload_bytes=settings.max_payload_bytes)
            for topic in tables
        }
        starts = {topic: known.offsets for topic, known in self._writer.progress.items()}
        self._feed = Feed(client, starts, queue_kbytes=QUEUE_KBYTES)
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
            self._feed.close()
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
                self._feed.measure_lag()
                pending = committer.submit(self._writer.write, self._closed(batch))
                batch = Batch()
        pending.result()
        if batch.rows:
            self._writer.write(self._closed(batch))
        if once:  # all tables are complete up to now, also those without news
            self._writer.write(self._closed(Batch()))

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
        batch.next = {topic: dict(reached) for topic, reached in self._feed.next.items()}
        self._submitted_at = monotonic()
        return batch

    def _drained(self) -> bool:
        return all(
            self._feed.reached(topic, state.ends) for topic, state in self._writer.found.items()
        )

    def _read_into(self, batch: Batch) -> None:
        for topic, messages in self._read().items():
            columns = message_columns(messages)
            batch.count(columns)
            if topic == DEAD_LETTERS_TOPIC:
                batch.frames.append(dead_letters_of_frames(columns, topic))
            else:
                found = self._sorters[topic].sort(columns)
                batch.accepted[topic].append(found.accepted)
                if len(found.refused):
                    batch.refused[topic].append(found.refused)
            self._feed.advance(topic, next_offsets(columns))

    def _read(self) -> Mapping[str, list[Message]]:
        try:
            return self._feed.read(READ_SECONDS)
        except KafkaException as error:
            # A topic that was made again, or cut by retention, shows as an offset out of range.
            self._writer.check_incarnations()
            raise LogError(
                f"the log cannot be read on after {self._feed.next}: {error.args[0].str()}. "
                "Start the lander again: it says what has changed."
            ) from error

"""The tail of the log: read as it comes, for all streams of the live tier."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.errors import LakehouseError
from lakehouse.kafka import GROUP_PREFIX, client_settings
from lakehouse.log_starts import current_generation, log_ends, starting_offsets
from lakehouse.poison import poison_events
from lakehouse.positions import LogPosition
from lakehouse.settings import Settings
from schemas.registry import SchemaRegistry, schema_registry
from schemas.wire import EventCodec
from serving.live import metrics
from serving.live.flow import Flow
from serving.live.history import History
from serving.live.outlet import Outlet
from serving.live.stream import STREAMS, Stream

# How long a look at an idle log takes, and with it a stop.
POLL_SECONDS = 0.1
# After the first event others are waited for: each row is told once for all of them.
GATHER_SECONDS = 0.01
MESSAGES_PER_LOOK = 2_000
FLUSH_SECONDS = 5.0
# What waits in the client is memory.
QUEUE_KBYTES = 16 * 1024
# Errors after which reading on would skip events; all others librdkafka mends itself.
_FATAL = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._FATAL,
    }
)

_log = structlog.get_logger(__name__)


class TailError(LakehouseError):
    """The next event of a topic cannot be had."""


def flow_of(stream: Stream, settings: Settings, catalog: Catalog, registry: SchemaRegistry) -> Flow:
    """Return a stream's flow, to be begun where silver ends.

    Raises:
        lakehouse.log_starts.WrongTopicError: The topic is not the one that bronze was landed from.
        lakehouse.log_starts.UncoveredLogError: The log has lost events that silver has not seen.
    """
    topic = stream.topic
    bronze = catalog.load_table(schemas.landed_topics()[topic])
    generation = current_generation(settings, bronze, topic)
    origin = LogPosition(generation, 0).encode()
    history = History(catalog, stream, origin)
    covered = {partition: reach + 1 for partition, reach in history.reach().items()}
    starts = starting_offsets(settings, topic, generation, covered)
    ends = log_ends(settings, topic)
    behind = sum(max(0, ends[partition] - start) for partition, start in starts.items())
    _log.info("reading the log", topic=topic, events=behind)
    return Flow(
        stream,
        EventCodec(registry, settings.max_payload_bytes, schemas.topics()[topic]),
        history,
        starts=starts,
        ends=ends,
        origin=origin,
        poison=poison_events(catalog, topic).keys(),
    )


class Tail:
    """Reads all streams with one consumer, and tells what they come to."""

    def __init__(
        self, settings: Settings, catalog: Catalog, streams: Iterable[Stream] = STREAMS
    ) -> None:
        """Begin where silver ends; raises as `flow_of` does."""
        self._settings = settings
        registry = schema_registry(settings)
        self._flows = {
            stream.topic: flow_of(stream, settings, catalog, registry) for stream in streams
        }
        self._consumer = Consumer(
            {
                **client_settings(settings),
                # Demanded by the client; no offset is ever stored under it.
                "group.id": f"{GROUP_PREFIX}live",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # An offset that is not there is an error to stop at.
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": QUEUE_KBYTES,
                "fetch.queue.backoff.ms": 5,
                "log_level": 0,
            }
        )
        self._consumer.assign(
            [
                TopicPartition(topic, partition, offset)
                for topic, flow in self._flows.items()
                for partition, offset in flow.next.items()
            ]
        )

    def run(self, stop: Event, beat: Callable[[], None]) -> None:
        """Read and tell until asked to stop.

        Args:
            stop: Set from elsewhere.
            beat: Called as work goes on.

        Raises:
            TailError: The next event cannot be had.
            confluent_kafka.KafkaException: The broker refuses rows.
        """
        outlet = Outlet(client_settings(self._settings), stop)
        flows = self._flows.values()
        began, was_behind = time.monotonic(), True
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="silver") as executor:
                while not stop.is_set():
                    asked_at = time.time()
                    self._look(stop)
                    for flow in flows:
                        flow.read(executor)
                        flow.tell(outlet, asked_at, self._lag(flow))
                    outlet.poll()
                    beat()
                    if was_behind and not any(flow.is_behind for flow in flows):
                        was_behind = False
                        seconds = round(time.monotonic() - began, 2)
                        _log.info("caught up with the log", seconds=seconds)
        finally:
            self._consumer.close()
            if left := outlet.close(FLUSH_SECONDS):
                _log.warning("rows not taken by the broker", rows=left)

    def _look(self, stop: Event) -> None:
        """Take what has come since the last look, waiting for something a little."""
        if any(flow.is_crowded for flow in self._flows.values()):
            stop.wait(GATHER_SECONDS)  # silver is being read: what is taken now would be too much
            return
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return
        for message in (first, *self._consumer.consume(MESSAGES_PER_LOOK, GATHER_SECONDS)):
            self._take(message)

    def _take(self, message: Message) -> None:
        flow, error = self._flows[message.topic() or ""], message.error()
        if error is None:
            flow.take(message)
        elif error.code() in _FATAL:
            raise TailError(
                f"{message.topic()} cannot be read on after {flow.next}: {error.str()}. Start "
                "`lakehouse live` again: it says what has changed."
            )
        elif error.code() == KafkaError._PARTITION_EOF:
            flow.passed(message.partition() or 0, message.offset() or 0)

    def _lag(self, flow: Flow) -> int:
        """Return how many events the last answers of the broker knew of beyond."""
        lag = 0
        for partition, offset in flow.next.items():
            place = TopicPartition(flow.stream.topic, partition)
            _, end = self._consumer.get_watermark_offsets(place, cached=True)
            lag += max(0, end - offset)
        metrics.LAG.labels(topic=flow.stream.topic).set(lag)
        return lag

"""The tail of the log: read as it comes, for all streams of the live tier."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from threading import Event

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.errors import LakehouseError, first_line
from lakehouse.kafka import GROUP_PREFIX, client_settings
from lakehouse.log_starts import current_generation, log_ends, starting_offsets
from lakehouse.poison import poison_events
from lakehouse.positions import LogPosition
from lakehouse.settings import Settings
from schemas.registry import SchemaRegistry, schema_registry
from schemas.wire import EventCodec
from serving.live.ends import Ends, LogEnds
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
# Silver is read, and a registry or the list of poison asked, while the log goes on.
THREADS = 2
# Nobody waits for a registry that is away: it is asked again in another thread.
REGISTRY_SECONDS = 0.0
# How often the list of poison is read.
POISON_SECONDS = 60.0
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


def flow_of(
    stream: Stream,
    settings: Settings,
    catalog: Catalog,
    registry: SchemaRegistry,
    *,
    earlier: Flow | None = None,
) -> Flow:
    """Return a stream's flow, to be begun where silver ends.

    Args:
        stream: The stream.
        settings: Where the log is.
        catalog: The lake's catalog.
        registry: Knows the schemas of its events.
        earlier: One that took in what turned out to be poison: this one begins before that.

    Raises:
        lakehouse.log_starts.WrongTopicError: The topic is not the one that bronze was landed from.
        lakehouse.log_starts.UncoveredLogError: The log has lost events that silver has not seen.
    """
    topic = stream.topic
    bronze = catalog.load_table(schemas.landed_topics()[topic])
    generation = current_generation(settings, bronze, topic)
    origin = LogPosition(generation, 0).encode()
    history = History(catalog, stream, origin)
    poison = poison_events(catalog, topic).keys()
    covered = {partition: reach + 1 for partition, reach in history.reach().items()}
    for partition, position in () if earlier is None else poison - earlier.poison:
        covered[partition] = min(position, covered.get(partition, origin))
    starts = starting_offsets(settings, topic, generation, covered)
    asked_at, ends = time.time(), log_ends(settings, topic)
    behind = sum(max(0, ends[partition] - start) for partition, start in starts.items())
    _log.info("reading the log", topic=topic, events=behind)
    return Flow(
        stream,
        EventCodec(registry, settings.max_payload_bytes, schemas.topics()[topic]),
        history,
        starts=starts,
        ends=ends,
        asked_at=asked_at,
        origin=origin,
        poison=poison,
    )


class Tail:
    """Reads all streams with one consumer, and tells what they come to."""

    def __init__(
        self, settings: Settings, catalog: Catalog, streams: Iterable[Stream] = STREAMS
    ) -> None:
        """Begin where silver ends; raises as `flow_of` does."""
        self._catalog = catalog
        registry = schema_registry(settings, budget_seconds=REGISTRY_SECONDS)
        self._flow_of = partial(flow_of, settings=settings, catalog=catalog, registry=registry)
        self._flows = {stream.topic: self._flow_of(stream) for stream in streams}
        self._client = client_settings(settings)
        self._consumer = Consumer(
            {
                **self._client,
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
        # Topics that are not read from at present: of all, at first.
        self._held = set(self._flows)
        self._renewing: Future[dict[str, Flow]] | None = None
        self._renew_at = time.monotonic() + POISON_SECONDS

    def run(self, stop: Event, beat: Callable[[], None]) -> None:
        """Read and tell until asked to stop.

        Args:
            stop: Set from elsewhere.
            beat: Called as work goes on.

        Raises:
            TailError: The next event cannot be had.
            confluent_kafka.KafkaException: The broker refuses rows.
        """
        outlet = Outlet(self._client, stop)
        ends = LogEnds(
            self._client, [place for flow in self._flows.values() for place in _places(flow)]
        )
        began, was_behind = time.monotonic(), True
        try:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="silver") as executor:
                while not stop.is_set():
                    self._look()
                    self._heed(ends.news())
                    self._renew(executor)
                    for flow in self._flows.values():
                        flow.read(executor)
                        flow.tell(outlet)
                    outlet.poll()
                    beat()
                    if was_behind and not any(flow.is_behind for flow in self._flows.values()):
                        was_behind = False
                        seconds = round(time.monotonic() - began, 2)
                        _log.info("caught up with the log", seconds=seconds)
        finally:
            self._consumer.close()
            if left := outlet.close(FLUSH_SECONDS):
                _log.warning("rows not taken by the broker", rows=left)

    def _look(self) -> None:
        """Take what has come since the last look, waiting for something a little."""
        for topic in [topic for topic in self._held if not self._flows[topic].is_held]:
            self._consumer.incremental_assign(_places(self._flows[topic]))
            self._held.remove(topic)
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return
        for message in (first, *self._consumer.consume(MESSAGES_PER_LOOK, GATHER_SECONDS)):
            self._take(message)

    def _hold(self, topic: str) -> None:
        """Read no more of a topic; what has been read and not taken is read again after that."""
        self._consumer.incremental_unassign(_places(self._flows[topic]))
        self._held.add(topic)

    def _heed(self, ends: Ends | None) -> None:
        if ends is not None:
            for topic, flow in self._flows.items():
                flow.heed(ends.asked_at, ends.offsets[topic])

    def _renew(self, executor: Executor) -> None:
        """Begin streams again, once a minute, that have taken in what turned out to be poison."""
        if self._renewing is None:
            if time.monotonic() >= self._renew_at:
                self._renewing = executor.submit(self._renewed)
        elif self._renewing.done():
            renewing, self._renewing = self._renewing, None
            self._renew_at = time.monotonic() + POISON_SECONDS
            try:
                renewed = renewing.result()
            except Exception as error:  # the catalog, the store or the broker is away
                _log.warning("the list of poison cannot be read", error=first_line(error))
                return
            for topic, flow in renewed.items():
                flow.follow(self._flows[topic])
                if topic not in self._held:
                    self._hold(topic)
                self._flows[topic] = flow

    def _renewed(self) -> dict[str, Flow]:
        """Return new flows of the streams whose list of poison has grown; in another thread."""
        return {
            topic: self._flow_of(flow.stream, earlier=flow)
            for topic, flow in self._flows.items()
            if poison_events(self._catalog, topic).keys() - flow.poison
        }

    def _take(self, message: Message) -> None:
        topic, error = message.topic() or "", message.error()
        if topic in self._held:
            return
        flow = self._flows[topic]
        if error is None:
            flow.take(message)
            if flow.is_held:
                self._hold(topic)
        elif error.code() in _FATAL:
            raise TailError(
                f"{message.topic()} cannot be read on after {flow.next}: {error.str()}. Start "
                "`lakehouse live` again: it says what has changed."
            )
        elif error.code() == KafkaError._PARTITION_EOF:
            flow.passed(message.partition() or 0, message.offset() or 0)


def _places(flow: Flow) -> list[TopicPartition]:
    """Return where a stream's topic is to be read on."""
    return [
        TopicPartition(flow.stream.topic, partition, offset)
        for partition, offset in flow.next.items()
    ]

"""Where the live tier tells its rows: the compacted topics."""

from threading import Event

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from lakehouse.delivery import producer_settings
from lakehouse.kafka import ClientSettings
from serving.live import metrics
from serving.live.progress import Progress
from serving.live.relations import PROGRESS_KEY, Relation, Values, encode, key_of

# Rows come in small batches already: waiting for more would only make them older.
LINGER_MS = 2
# A broker that is away for this long gets no more rows until it is back.
QUEUE_MESSAGES = 100_000
WAIT_SECONDS = 0.5


class Outlet:
    """Sends rows; those that the broker does not take at once are sent again, in their order."""

    def __init__(self, client: ClientSettings, stop: Event) -> None:
        """Prepare to send; nothing is sent yet.

        Args:
            client: librdkafka's settings that lead to the log.
            stop: Set when nobody shall wait for the broker any longer.
        """
        self._stop = stop
        own = {
            "client.id": "lakehouse-live",
            "linger.ms": LINGER_MS,
            "queue.buffering.max.messages": QUEUE_MESSAGES,
            "log_level": 0,
        }
        # Until the broker is back, however long: what is told meanwhile is told again.
        self._producer = Producer(producer_settings(client, delivery_timeout_seconds=0) | own)
        self._failed: KafkaError | None = None

    def tell(self, relation: Relation, row: Values) -> None:
        """Send a row."""
        self._send(relation, key_of(relation, row), encode(row))
        metrics.ROWS.labels(relation=relation.name).inc()

    def tell_progress(self, relation: Relation, progress: Progress) -> None:
        """Send how far the rows of a relation go."""
        self._send(relation, PROGRESS_KEY, progress.encode())

    def poll(self) -> None:
        """Hear what became of what was sent.

        Raises:
            confluent_kafka.KafkaException: The broker refuses rows.
        """
        self._producer.poll(0)
        if self._failed is not None:
            raise KafkaException(self._failed)

    def close(self, seconds: float) -> int:
        """Wait for what is under way; return how many rows are left."""
        return self._producer.flush(seconds)

    def _send(self, relation: Relation, key: str, value: bytes) -> None:
        while not self._stop.is_set():
            try:
                self._producer.produce(relation.topic, value, key, on_delivery=self._heed)
            except BufferError:
                self._producer.poll(WAIT_SECONDS)
            else:
                return

    def _heed(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed = error

"""The topics' messages, read from explicit offsets; no consumer group takes part."""

from collections import defaultdict
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ingestion.lander import metrics
from lakehouse.kafka import GROUP_PREFIX, ClientSettings

# One call into librdkafka for so many messages: more gain nothing, and wait longer to fill.
MESSAGES_PER_READ = 10_000
# Errors after which reading on would skip or invent events; all others librdkafka mends itself.
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


def consumer_settings(client: ClientSettings, *, queue_kbytes: int) -> dict[str, str | int | bool]:
    """Return librdkafka's settings for a consumer that is told every offset it reads."""
    return {
        **client,
        # Demanded by the client; no offset is ever stored under it.
        "group.id": f"{GROUP_PREFIX}lander",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # An offset that is not there is an error to stop at, never a reason to start elsewhere.
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        # What waits here is memory; reading pauses while it is full.
        "queued.max.messages.kbytes": queue_kbytes,
        "queued.min.messages": 100_000,
        "fetch.queue.backoff.ms": 5,
        # Rows are committed by the second: asking for each as it comes would only load the broker.
        "fetch.min.bytes": 64 * 1024,
        "fetch.wait.max.ms": 100,
        "log_level": 0,
    }


class Feed:
    """Reads some topics with one consumer.

    Attributes:
        next: By topic, for each partition, the offset after the last one that was read.
    """

    def __init__(
        self,
        client: ClientSettings,
        offsets: Mapping[str, Mapping[int, int]],
        *,
        queue_kbytes: int,
    ) -> None:
        self.next = {topic: dict(starts) for topic, starts in offsets.items()}
        self._consumer = Consumer(consumer_settings(client, queue_kbytes=queue_kbytes))
        self._consumer.assign(
            [
                TopicPartition(topic, partition, offset)
                for topic, starts in offsets.items()
                for partition, offset in starts.items()
            ]
        )

    def read(self, seconds: float) -> Mapping[str, list[Message]]:
        """Return the messages that have come by topic, waiting for some at most so long.

        Raises:
            confluent_kafka.KafkaException: The next event cannot be had, now or later.
        """
        messages: dict[str, list[Message]] = defaultdict(list)
        for message in self._consumer.consume(MESSAGES_PER_READ, timeout=seconds):
            if (error := message.error()) is None:
                messages[message.topic() or ""].append(message)
            else:
                self._heed(error, message)
        return messages

    def advance(self, topic: str, partitions: Mapping[int, int]) -> None:
        """Note the offsets after the last message of each partition."""
        reached = self.next[topic]
        for partition, offset in partitions.items():
            reached[partition] = max(reached[partition], offset)

    def reached(self, topic: str, ends: Mapping[int, int]) -> bool:
        """Whether everything of a topic before the given offsets has been read."""
        return all(self.next[topic][partition] >= end for partition, end in ends.items())

    def measure_lag(self) -> None:
        """Set the lag metric from what the last fetches said, without asking the broker."""
        for topic, reached in self.next.items():
            lag = 0
            for partition, offset in reached.items():
                place = TopicPartition(topic, partition)
                _, end = self._consumer.get_watermark_offsets(place, cached=True)
                lag += max(0, end - offset)
            metrics.LAG.labels(topic=topic).set(lag)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _heed(self, error: KafkaError, notice: Message) -> None:
        if error.code() in _FATAL:
            raise KafkaException(error)
        topic, partition, offset = notice.topic(), notice.partition(), notice.offset()
        is_end = error.code() == KafkaError._PARTITION_EOF
        if not is_end or topic is None or partition is None or offset is None:
            return  # such as a lost connection, which librdkafka mends
        # Ends that no message has, such as a transaction's marker, are passed by this.
        self.advance(topic, {partition: offset})

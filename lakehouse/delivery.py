"""How messages get to the log: a client's settings, its connection, and what can fail."""

import logging
from collections.abc import Collection, Mapping
from typing import Final

from confluent_kafka import KafkaException, Producer

from lakehouse.errors import LakehouseError
from lakehouse.kafka import ClientSettings

# Long enough to sit out a broker's restart; after that somebody has to know.
DELIVERY_TIMEOUT_SECONDS: Final = 120.0
METADATA_TIMEOUT_SECONDS: Final = 10.0
# Every request costs the broker the same, however little is in it: at 5,000 events a second over
# four partitions, waiting 25 ms is a sixth of the requests of waiting 5, and nobody sees it.
LINGER_MS: Final = 25
# Above this many waiting messages, sending waits for the broker.
QUEUE_MESSAGES: Final = 200_000
QUEUE_KBYTES: Final = 128 * 1024
# The broker's own limit (infra/kafka/server.properties). It is far above that of an event, so that
# what is too large for an event still fits into a dead letter.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


class DeliveryError(LakehouseError):
    """Messages were handed over but never acknowledged.

    Attributes:
        topic: Topic of the first message that failed.
        key: Its key.
        count: How many failed.
    """

    def __init__(self, topic: str, key: bytes | None, count: int, cause: str) -> None:
        self.topic, self.key, self.count = topic, key, count
        name = (key or b"").decode(errors="backslashreplace")
        super().__init__(
            f"{count} message(s) were not delivered; the first was for topic {topic}, "
            f"key {name!r}: {cause}"
        )


class DeadProducerError(DeliveryError):
    """The client cannot keep order any more and sends nothing, for good: another one may."""


class BrokerUnavailableError(LakehouseError):
    """No broker answers, or it does not have the topics that events go to."""


def producer_settings(
    client: ClientSettings,
    *,
    delivery_timeout_seconds: float = DELIVERY_TIMEOUT_SECONDS,
    compression: str = "lz4",
) -> dict[str, str | int | float | bool]:
    """Return librdkafka's settings for a producer that neither loses nor doubles nor reorders."""
    return {
        **client,
        "client.id": "lakehouse-producer",
        "enable.idempotence": True,
        "acks": "all",
        # The Java clients' partitioner: whoever produces, a key is always in one partition.
        "partitioner": "murmur2_random",
        "compression.type": compression,
        "linger.ms": LINGER_MS,
        "queue.buffering.max.messages": QUEUE_MESSAGES,
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "delivery.timeout.ms": int(delivery_timeout_seconds * 1000),
        # Successes are counted, not reported one by one.
        "delivery.report.only.error": True,
    }


def connected(
    client: ClientSettings,
    own: Mapping[str, str | int | float | bool] | None = None,
    *,
    topics: Collection[str] = (),
    timeout_seconds: float = METADATA_TIMEOUT_SECONDS,
) -> Producer:
    """Return a producer once a broker has answered it.

    Args:
        client: How to reach the log.
        own: What differs from the settings of every producer.
        topics: Those that must be there.
        timeout_seconds: How long the broker may take to answer.

    Raises:
        BrokerUnavailableError: No broker answers, or a topic does not exist.
    """
    settings = producer_settings(client) | dict(own or {})
    producer = Producer(settings, logger=logging.getLogger("librdkafka"))
    servers = client["bootstrap.servers"]
    try:
        found = producer.list_topics(timeout=timeout_seconds).topics
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"no Kafka broker answers at {servers}: {error.args[0].str()}"
        ) from error
    for topic in topics:
        if topic not in found:
            raise BrokerUnavailableError(
                f"the broker at {servers} has no topic {topic}: run `lakehouse up`"
            )
    return producer

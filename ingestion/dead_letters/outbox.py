"""Sends messages to the log and tells where each came to stand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage

from ingestion.dead_letters.lineage import Coordinates
from ingestion.dead_letters.redrives import Sent
from ingestion.dead_letters.remaking import Message
from ingestion.delivery import DELIVERY_TIMEOUT_SECONDS, DeliveryError, connected
from lakehouse.kafka import ClientSettings

# librdkafka's word for a partition that the key decides.
ANY_PARTITION: Final = -1


class KafkaClient(Protocol):
    """What is needed of ``confluent_kafka.Producer``."""

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        *,
        partition: int,
        on_delivery: Callable[[KafkaError | None, KafkaMessage], None],
        headers: list[tuple[str, str | bytes | None]],
    ) -> None:
        """Queue a message; raises BufferError when the queue is full."""

    def flush(self, timeout: float) -> int:
        """Wait for all messages; returns how many still wait."""


@dataclass
class Delivery:
    """What became of the messages since the last delivery.

    Attributes:
        sent: By the dead letter that it was made of, where a message stands.
        failure: The first that was not delivered, if any.
    """

    sent: dict[Coordinates, Sent] = field(default_factory=dict)
    failure: DeliveryError | None = None


class Outbox:
    """Messages on their way to the log, in the order in which they were put in."""

    def __init__(
        self, client: KafkaClient, *, timeout_seconds: float = DELIVERY_TIMEOUT_SECONDS
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._delivery = Delivery()

    @classmethod
    def connect(cls, client: ClientSettings) -> Self:
        """Connect to the log.

        Raises:
            BrokerUnavailableError: No broker answers.
        """
        return cls(
            connected(
                client, {"client.id": "lakehouse-redrive", "delivery.report.only.error": False}
            )
        )

    def put(self, letter: Coordinates, message: Message, links: Mapping[str, bytes]) -> None:
        """Hand over the message that was made of a letter; waits while the queue is full."""

        def note(error: KafkaError | None, found: KafkaMessage) -> None:
            if error is not None:
                self._fail(message, error.str())
                return
            partition, offset = found.partition(), found.offset()
            self._delivery.sent[letter] = Sent(message.topic, int(partition or 0), int(offset or 0))

        partition = ANY_PARTITION if message.partition is None else message.partition
        while True:
            try:
                self._client.produce(
                    message.topic,
                    message.payload,
                    message.key,
                    partition=partition,
                    on_delivery=note,
                    headers=[*message.headers.items(), *links.items()],
                )
            except BufferError:
                if self._client.flush(self._timeout_seconds):
                    self._fail(message, "the broker takes no more messages")
                    return
            except KafkaException as error:
                self._fail(message, error.args[0].str())
                return
            else:
                return

    def deliver(self) -> Delivery:
        """Wait until each message is acknowledged or has failed, and start afresh."""
        if waiting := self._client.flush(self._timeout_seconds):
            self._delivery.failure = self._delivery.failure or DeliveryError(
                "the log", None, waiting, f"no answer within {self._timeout_seconds:g} s"
            )
        delivery, self._delivery = self._delivery, Delivery()
        return delivery

    def _fail(self, message: Message, cause: str) -> None:
        self._delivery.failure = self._delivery.failure or DeliveryError(
            message.topic, message.key, 1, cause
        )

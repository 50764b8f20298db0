"""Sends messages to the log and tells where each came to stand."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, Self, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage

from lakehouse.delivery import (
    DELIVERY_TIMEOUT_SECONDS,
    DeadProducerError,
    DeliveryError,
    connected,
)
from lakehouse.kafka import ClientSettings

Tag = TypeVar("Tag", bound=Hashable)

# librdkafka's word for a partition that the key decides.
ANY_PARTITION: Final = -1
# It tells within a second or two of what it has given up. Until it has, a message may still arrive.
SETTLING_SECONDS: Final = 5.0


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


@dataclass(frozen=True)
class Message:
    """What goes to the log."""

    topic: str
    key: bytes | None
    payload: bytes
    partition: int | None = None
    """Where it has to go; None leaves it to the key."""
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent:
    """Where a message stands in the log."""

    topic: str
    partition: int
    offset: int


@dataclass
class Delivery(Generic[Tag]):
    """What became of the messages since the last delivery.

    Attributes:
        sent: By tag, where a message stands.
        failure: The first that was not delivered, if any; rather that the client is dead.
    """

    sent: dict[Tag, Sent] = field(default_factory=dict)
    failure: DeliveryError | None = None


class Dispatch(Generic[Tag]):
    """Messages on their way to the log, in the order in which they were put in.

    Each has a tag, by which whoever put it in knows it.
    """

    def __init__(
        self, client: KafkaClient, *, timeout_seconds: float = DELIVERY_TIMEOUT_SECONDS
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._delivery = Delivery[Tag]()

    @classmethod
    def connect(
        cls,
        client: ClientSettings,
        *,
        name: str,
        timeout_seconds: float = DELIVERY_TIMEOUT_SECONDS,
    ) -> Self:
        """Connect to the log.

        Args:
            client: How to reach the log.
            name: Who sends, as the broker's logs tell it.
            timeout_seconds: What is not acknowledged by then is given up.

        Raises:
            BrokerUnavailableError: No broker answers.
        """
        own: dict[str, str | int | float | bool] = {
            "client.id": f"lakehouse-{name}",
            "delivery.report.only.error": False,
            "delivery.timeout.ms": int(timeout_seconds * 1000),
        }
        return cls(connected(client, own), timeout_seconds=timeout_seconds + SETTLING_SECONDS)

    def put(self, tag: Tag, message: Message, links: Mapping[str, bytes] | None = None) -> None:
        """Hand over a message; waits while the queue is full.

        Args:
            tag: Which message it is.
            message: The message.
            links: Headers that it gets beside its own.
        """

        def note(error: KafkaError | None, found: KafkaMessage) -> None:
            if error is not None:
                self._fail(DeliveryError(message.topic, message.key, 1, error.str()))
                return
            partition, offset = found.partition(), found.offset()
            self._delivery.sent[tag] = Sent(message.topic, int(partition or 0), int(offset or 0))

        partition = ANY_PARTITION if message.partition is None else message.partition
        while True:
            try:
                self._client.produce(
                    message.topic,
                    message.payload,
                    message.key,
                    partition=partition,
                    on_delivery=note,
                    headers=[*message.headers.items(), *(links or {}).items()],
                )
            except BufferError:
                if self._client.flush(self._timeout_seconds):
                    cause = "the broker takes no more messages"
                    self._fail(DeliveryError(message.topic, message.key, 1, cause))
                    return
            except KafkaException as error:
                told: KafkaError = error.args[0]
                # Whatever call met it, this one says it from then on.
                is_dead = told.fatal() or told.code() == KafkaError._FATAL
                kind = DeadProducerError if is_dead else DeliveryError
                self._fail(kind(message.topic, message.key, 1, told.str()))
                return
            else:
                return

    def deliver(self) -> Delivery[Tag]:
        """Wait until each message is acknowledged or has failed, and start afresh."""
        if waiting := self._client.flush(self._timeout_seconds):
            cause = f"no answer within {self._timeout_seconds:g} s"
            self._fail(DeliveryError("the log", None, waiting, cause))
        delivery, self._delivery = self._delivery, Delivery()
        return delivery

    def _fail(self, failure: DeliveryError) -> None:
        if self._delivery.failure is None or isinstance(failure, DeadProducerError):
            self._delivery.failure = failure

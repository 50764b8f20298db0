"""Sends events to the log so that each arrives once and in order, or the failure is heard."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from ingestion.adapters import event_key
from lakehouse.delivery import (
    DELIVERY_TIMEOUT_SECONDS,
    MAX_MESSAGE_BYTES,
    METADATA_TIMEOUT_SECONDS,
    DeliveryError,
    connected,
)
from lakehouse.errors import LakehouseError
from lakehouse.kafka import DEAD_LETTERS_TOPIC, TRADES_TOPIC, ClientSettings

log = structlog.get_logger(__name__)

STAGE: Final = "producer"
# Headers of a dead letter that not every one has: when a frame was received, ns since 1970 UTC, and
# how large a payload is of which only the beginning is kept.
RECEIVED_AT_HEADER: Final = "received_at_ns"
PAYLOAD_BYTES_HEADER: Final = "payload_bytes"

# What a dead letter weighs beyond its payload: headers and framing.
MESSAGE_OVERHEAD_BYTES: Final = 16 * 1024
MAX_DEAD_LETTER_BYTES: Final = MAX_MESSAGE_BYTES - MESSAGE_OVERHEAD_BYTES
# A full queue is polled in slices, so that failures are heard while waiting.
_BACK_PRESSURE_POLL_SECONDS: Final = 0.1
# Asking librdkafka for failures costs more than handing it a message.
_MESSAGES_PER_POLL: Final = 500
_SHOWN_KEY_BYTES: Final = 100

Headers = list[tuple[str, str | bytes | None]]
Encode = Callable[[Mapping[str, Any]], bytes]
Key = Callable[[Any], bytes]


class WithheldEventError(LakehouseError):
    """An event that must not be written down, nor anything of what it says.

    Attributes:
        reason: Why, as one snake_case word that dashboards can count.
        source: Where it came from, so that it can be mended there and sent again.
    """

    def __init__(self, reason: str, detail: str, source: str) -> None:
        super().__init__(detail)
        self.reason, self.source = reason, source


class KafkaClient(Protocol):
    """What is needed of ``confluent_kafka.Producer``."""

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        *,
        on_delivery: Callable[[KafkaError | None, Message], None],
        headers: Headers | None,
    ) -> None:
        """Queue a message; raises BufferError when the queue is full."""

    def poll(self, timeout: float) -> int:
        """Wait for delivery reports and call back with them."""

    def flush(self, timeout: float) -> int:
        """Wait for all messages; returns how many still wait."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Delivered:
    """What a producer has got acknowledged."""

    events: int
    dead_letters: Mapping[str, int]
    """Count of dead letters by reason."""


class EventProducer:
    """Sends the events of one topic to the log, and what could not be read to the dead letters.

    Without another topic and key, these are the canonical trade events.

    A failed delivery is raised by the next call, at the latest by ``flush``. Use it as a context
    manager: leaving it in order flushes.
    """

    def __init__(
        self,
        client: KafkaClient,
        encode: Encode,
        *,
        max_payload_bytes: int,
        topic: str = TRADES_TOPIC,
        key: Key = event_key,
        delivery_timeout_seconds: float = DELIVERY_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._encode = encode
        self._topic = topic
        self._key = key
        self._max_payload_bytes = max_payload_bytes
        self._timeout_seconds = delivery_timeout_seconds
        self._clock = clock
        self._events = 0
        self._dead_letters: Counter[str] = Counter()
        self._since_poll = 0
        self._failed: list[tuple[str, bytes | None, str]] = []
        self._oversized: list[tuple[bytes, bytes]] = []

    @classmethod
    def connect(
        cls,
        client: ClientSettings,
        encode: Encode,
        *,
        max_payload_bytes: int,
        topic: str = TRADES_TOPIC,
        key: Key = event_key,
        timeout_seconds: float = METADATA_TIMEOUT_SECONDS,
    ) -> Self:
        """Connect to the log.

        Raises:
            BrokerUnavailableError: No broker answers, or a topic does not exist.
        """
        producer = connected(
            client, topics=(topic, DEAD_LETTERS_TOPIC), timeout_seconds=timeout_seconds
        )
        return cls(producer, encode, max_payload_bytes=max_payload_bytes, topic=topic, key=key)

    def send(self, event: Mapping[str, Any]) -> None:
        """Hand an event over; waits while the queue is full.

        An event that is larger than the log takes becomes a dead letter. So does one that must not
        be written down; its dead letter says why, and is empty.

        Raises:
            DeliveryError: An earlier message failed, or the broker takes none for too long.
        """
        try:
            payload = self._encode(event)
        except WithheldEventError as error:
            self.refuse(b"", reason=error.reason, detail=str(error), source=error.source)
            return
        self.send_encoded(self._key(event), payload)

    def send_encoded(self, key: bytes, payload: bytes) -> None:
        """Hand over a message value as it is; for the rest, see ``send``."""
        if len(payload) > self._max_payload_bytes:
            self._refuse_oversized(key, payload)
            return
        self._produce(self._topic, key, payload, None)
        self._events += 1

    def refuse(
        self,
        payload: bytes,
        *,
        reason: str,
        detail: str,
        source: str,
        received_at_ns: int | None = None,
    ) -> None:
        """Send what could not be made an event to the dead letters.

        Args:
            payload: What was received, byte for byte. Only its beginning is kept if it is larger
                than the log takes; header ``payload_bytes`` then tells its full size.
            reason: Why it was refused, one snake_case word.
            detail: The same as a sentence.
            source: Where it came from: ``file:line`` or the address of a stream.
            received_at_ns: When it was received, ns since 1970 UTC; some events need it.

        Raises:
            DeliveryError: See ``send``.
        """
        headers: Headers = [
            ("reason", reason),
            ("detail", detail.encode(errors="backslashreplace")),
            ("source", source.encode(errors="backslashreplace")),
            ("stage", STAGE),
        ]
        if received_at_ns is not None:
            headers.append((RECEIVED_AT_HEADER, str(received_at_ns)))
        if len(payload) > MAX_DEAD_LETTER_BYTES:
            headers.append((PAYLOAD_BYTES_HEADER, str(len(payload))))
            payload = payload[:MAX_DEAD_LETTER_BYTES]
        log.debug("input refused", reason=reason, detail=detail, source=source)
        self._produce(DEAD_LETTERS_TOPIC, None, payload, headers)
        self._dead_letters[reason] += 1

    def idle(self, seconds: float) -> None:
        """Wait for at most so long, and hear of failed deliveries while at it."""
        self._client.poll(seconds)
        self._settle()

    def flush(self) -> Delivered:
        """Wait until all is acknowledged; returns the totals so far.

        Raises:
            DeliveryError: Something failed, or is not acknowledged in time.
        """
        waiting = self._client.flush(self._timeout_seconds)
        if self._settle():
            waiting = self._client.flush(self._timeout_seconds)
            self._settle()
        if waiting:
            raise DeliveryError(
                self._topic, None, waiting, f"no answer within {self._timeout_seconds:g} s"
            )
        return Delivered(events=self._events, dead_letters=dict(self._dead_letters))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After a failed delivery, waiting for the rest would only delay the news.
        if error_type is None or not issubclass(error_type, DeliveryError):
            self.flush()

    def _produce(
        self, topic: str, key: bytes | None, payload: bytes, headers: Headers | None
    ) -> None:
        give_up = None
        while True:
            try:
                self._client.produce(
                    topic, payload, key, on_delivery=self._on_delivery, headers=headers
                )
                break
            except BufferError:
                give_up = give_up or self._clock() + self._timeout_seconds
                if self._clock() > give_up:
                    raise DeliveryError(
                        topic, key, len(self._client), "the broker takes no more messages"
                    ) from None
                self.idle(_BACK_PRESSURE_POLL_SECONDS)
            except KafkaException as error:
                raise DeliveryError(topic, key, 1, error.args[0].str()) from error
        self._since_poll += 1
        if self._since_poll >= _MESSAGES_PER_POLL:
            self._since_poll = 0
            self.idle(0)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Note a failure; it is dealt with after the poll, since no callback may produce."""
        if error is None:
            return
        topic, key = message.topic() or "", _bytes(message.key())
        if topic == self._topic and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            # The topic's own limit is below ours.
            self._oversized.append((key, _bytes(message.value())))
        else:
            self._failed.append((topic, key, error.str()))

    def _settle(self) -> bool:
        """Raise failures, and refuse what was too large; returns whether there was such."""
        if self._failed:
            failed, self._failed = self._failed, []
            topic, key, cause = failed[0]
            raise DeliveryError(topic, key, len(failed), cause)
        oversized, self._oversized = self._oversized, []
        for key, payload in oversized:
            self._events -= 1
            self._refuse_oversized(key, payload)
        return bool(oversized)

    def _refuse_oversized(self, key: bytes, payload: bytes) -> None:
        self.refuse(
            payload,
            reason="message_too_large",
            detail=f"the event is {len(payload)} bytes, which is more than the log takes",
            source=f"{self._topic} key {key[:_SHOWN_KEY_BYTES].decode(errors='replace')}",
        )


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""

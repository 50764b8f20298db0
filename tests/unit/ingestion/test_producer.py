from collections import deque
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from ingestion import producer as producing
from ingestion.adapters import TradeEvent
from ingestion.producer import Delivered, EventProducer
from lakehouse.delivery import DeliveryError, producer_settings
from lakehouse.kafka import DEAD_LETTERS_TOPIC, TRADES_TOPIC

EVENT = TradeEvent(
    event_type="TRADE",
    venue="binance_spot",
    symbol="BTCUSDT",
    trade_id=7,
    event_time=0,
    price=None,
    quantity=None,
    quantity_unit="BASE",
    contract_size=None,
    aggressor_side=None,
    received_at=None,
)


class Queued(NamedTuple):
    topic: str
    value: bytes
    key: bytes | None
    headers: dict[str, Any]
    on_delivery: Any


class Report:
    """The message that a delivery report is about."""

    def __init__(self, message: Queued) -> None:
        self._message = message

    def topic(self) -> str:
        return self._message.topic

    def key(self) -> bytes | None:
        return self._message.key

    def value(self) -> bytes:
        return self._message.value


class FakeClient:
    """A Kafka client with a queue of two messages, whose broker answers as it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.size = 2
        self.queue: deque[Queued] = deque()
        self.delivered: list[Queued] = []
        self.answers = True
        self.refuses: Any = lambda message: None
        self.local_error: KafkaException | None = None
        self._busy = False

    def produce(
        self, topic: str, value: bytes, key: bytes | None, *, on_delivery: Any, headers: Any
    ) -> None:
        assert not self._busy, "produced from within a callback"
        if self.local_error:
            raise self.local_error
        if len(self.queue) >= self.size:
            raise BufferError("queue full")
        self.queue.append(Queued(topic, value, key, dict(headers or ()), on_delivery))

    def poll(self, timeout: float) -> int:
        self.now += timeout
        served = 0
        while self.answers and self.queue:
            message = self.queue.popleft()
            error = self.refuses(message)
            if error is None:
                self.delivered.append(message)
            else:
                self._busy = True
                message.on_delivery(error, Report(message))
                self._busy = False
            served += 1
        return served

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return len(self.queue)

    def __len__(self) -> int:
        return len(self.queue)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def producer(client: FakeClient) -> EventProducer:
    return EventProducer(
        client,
        lambda event: f"event {event['trade_id']}".encode(),
        max_payload_bytes=100,
        delivery_timeout_seconds=5,
        clock=lambda: client.now,
    )


def test_event_goes_to_the_topic_under_its_instruments_key(
    client: FakeClient, producer: EventProducer
) -> None:
    with producer:
        producer.send(EVENT)
    (message,) = client.delivered
    assert message[:4] == (TRADES_TOPIC, b"event 7", b"binance_spot:BTCUSDT", {})
    assert producer.flush() == Delivered(events=1, dead_letters={})


def test_full_queue_is_waited_for(client: FakeClient, producer: EventProducer) -> None:
    for _ in range(50):
        producer.send(EVENT)
    assert producer.flush().events == 50
    assert len(client.delivered) == 50


def test_broker_that_takes_nothing_is_given_up_in_time(
    client: FakeClient, producer: EventProducer
) -> None:
    client.answers = False
    producer.send(EVENT)
    producer.send(EVENT)
    with pytest.raises(DeliveryError, match="takes no more messages"):
        producer.send(EVENT)
    assert 5 < client.now < 6


def test_failed_delivery_is_raised_with_topic_key_and_count(
    client: FakeClient, producer: EventProducer
) -> None:
    client.refuses = lambda _: KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    producer.send(EVENT)
    producer.send(EVENT)
    with pytest.raises(DeliveryError, match="binance_spot:BTCUSDT") as caught:
        producer.flush()
    error = caught.value
    assert (error.topic, error.key, error.count) == (TRADES_TOPIC, b"binance_spot:BTCUSDT", 2)


def test_failed_delivery_is_heard_while_sending(
    client: FakeClient, producer: EventProducer
) -> None:
    client.refuses = lambda _: KafkaError(KafkaError._MSG_TIMED_OUT)
    producer.send(EVENT)
    producer.send(EVENT)
    with pytest.raises(DeliveryError):
        producer.send(EVENT)


def test_failed_delivery_is_heard_while_idle(client: FakeClient, producer: EventProducer) -> None:
    client.refuses = lambda _: KafkaError(KafkaError._MSG_TIMED_OUT)
    producer.send(EVENT)
    with pytest.raises(DeliveryError):
        producer.idle(0)


def test_client_that_refuses_at_once_is_a_failed_delivery(
    client: FakeClient, producer: EventProducer
) -> None:
    client.local_error = KafkaException(KafkaError(KafkaError._FATAL))
    with pytest.raises(DeliveryError):
        producer.send(EVENT)


def test_unacknowledged_messages_are_a_failure(client: FakeClient, producer: EventProducer) -> None:
    client.answers = False
    producer.send(EVENT)
    with pytest.raises(DeliveryError, match="1 message"):
        producer.flush()


def test_leaving_after_an_error_still_sends_what_was_accepted(
    client: FakeClient, producer: EventProducer
) -> None:

    def interrupted() -> None:
        with producer:
            producer.send(EVENT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(client.delivered) == 1


def test_refused_frame_is_kept_byte_for_byte_with_its_reason(
    client: FakeClient, producer: EventProducer
) -> None:
    producer.refuse(
        b"\xff{", reason="malformed_json", detail="é\ud800", source="a.gz:3", received_at_ns=17
    )
    assert producer.flush() == Delivered(events=0, dead_letters={"malformed_json": 1})
    (letter,) = client.delivered
    assert (letter.topic, letter.value) == (DEAD_LETTERS_TOPIC, b"\xff{")
    assert letter.headers == {
        "reason": "malformed_json",
        "detail": "é".encode() + b"\\ud800",
        "source": b"a.gz:3",
        "stage": "producer",
        "received_at_ns": "17",
    }


def test_event_that_is_too_large_becomes_a_dead_letter(
    client: FakeClient, producer: EventProducer
) -> None:
    producer.send_encoded(b"a:B", b"x" * 101)
    producer.send_encoded(b"a:B", b"x" * 100)
    assert producer.flush() == Delivered(events=1, dead_letters={"message_too_large": 1})
    letter, event = client.delivered
    assert (letter.topic, letter.value) == (DEAD_LETTERS_TOPIC, b"x" * 101)
    assert event.topic == TRADES_TOPIC


def test_event_that_only_the_broker_finds_too_large_becomes_a_dead_letter(
    client: FakeClient, producer: EventProducer
) -> None:
    too_large = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    client.refuses = lambda message: too_large if message.topic == TRADES_TOPIC else None
    producer.send(EVENT)
    assert producer.flush() == Delivered(events=0, dead_letters={"message_too_large": 1})
    assert [(sent.topic, sent.value) for sent in client.delivered] == [
        (DEAD_LETTERS_TOPIC, b"event 7")
    ]


def test_dead_letter_keeps_the_beginning_of_what_no_broker_takes(
    client: FakeClient, producer: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producing, "MAX_DEAD_LETTER_BYTES", 10)
    producer.refuse(b"0123456789abc", reason="malformed_line", detail="", source="")
    producer.flush()
    (letter,) = client.delivered
    assert (letter.value, letter.headers["payload_bytes"]) == (b"0123456789", "13")


def test_settings_promise_order_and_no_loss() -> None:
    settings = producer_settings({"bootstrap.servers": "somewhere:9092"})
    assert settings["enable.idempotence"] is True
    assert settings["acks"] == "all"
    assert settings["partitioner"] == "murmur2_random"

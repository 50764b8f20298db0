"""The log as a plain consumer reads it: which recorded trade got which position."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple

import fastavro
from confluent_kafka import Consumer, KafkaException, TopicPartition

from demo.acceptance import accepted
from demo.oracle import LoggedEvent
from lakehouse.errors import LakehouseError
from lakehouse.kafka import ClientSettings

REQUEST_SECONDS = 10.0
# The demo's cores are full: what takes milliseconds alone may take seconds there.
STALLED_SECONDS = 60.0
# Confluent's framing: a zero byte and the four bytes of the schema's id.
FRAMING_BYTES = 5

TradeName = tuple[str, str, int]
Event = Mapping[str, Any]


class LogStalledError(LakehouseError):
    """The log does not hand out what it says it holds."""


class LogMismatchError(LakehouseError):
    """The log holds something that was not sent, or lacks something that was."""


class LogMessage(NamedTuple):
    """One message of the topic; `timestamp` is the producer's, UTC."""

    partition: int
    offset: int
    timestamp: datetime
    payload: bytes


def read_topic(client: ClientSettings, topic: str) -> Iterator[LogMessage]:
    """Yield every message that the topic holds now, each partition in its order.

    Raises:
        confluent_kafka.KafkaException: The broker does not answer.
        LogStalledError: Nothing comes, though there is more.
    """
    consumer = Consumer(
        {
            **client,
            "group.id": "lakehouse-oracle",  # demanded by the client; nothing is stored
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )
    try:
        left: dict[int, int] = {}
        starts: list[TopicPartition] = []
        for partition in (
            consumer.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions
        ):
            low, high = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=REQUEST_SECONDS
            )
            starts.append(TopicPartition(topic, partition, low))
            if high > low:
                left[partition] = high
        consumer.assign(starts)
        while left:
            # One by one: asked for many, the client waits for the last of them.
            message = consumer.poll(STALLED_SECONDS)
            if message is None:
                raise LogStalledError(
                    f"{topic} at {client['bootstrap.servers']} has messages before {left} "
                    f"(offsets by partition), but none came within {STALLED_SECONDS:.0f} s"
                )
            if (error := message.error()) is not None:
                raise KafkaException(error)
            partition, offset, payload = message.partition(), message.offset(), message.value()
            if partition not in left or offset is None or payload is None:
                continue
            timestamp = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            yield LogMessage(partition, offset, timestamp, payload)
            if offset + 1 >= left[partition]:
                del left[partition]
    finally:
        consumer.close()


def by_name(events: Iterable[Event]) -> dict[TradeName, Event]:
    """Index recorded trades by venue, symbol and trade id, which the sample uses once each."""
    return {_name(event): event for event in events}


def logged(
    messages: Iterable[LogMessage], recorded: Mapping[TradeName, Event]
) -> Iterator[LoggedEvent]:
    """Give the recorded trades the positions that they got in the log.

    Of a message only the trade's name is used; what the trade was is the recording's word.

    Raises:
        LogMismatchError: A message names a trade that was never recorded.
    """
    schema = fastavro.parse_schema(
        json.loads((files("schemas") / "avro" / "market.trades.v1.avsc").read_text())
    )
    for message in messages:
        body: Any = fastavro.schemaless_reader(
            io.BytesIO(message.payload[FRAMING_BYTES:]), schema, None
        )
        event = recorded.get(_name(body))
        if event is None:
            raise LogMismatchError(
                f"partition {message.partition}, offset {message.offset} holds "
                f"{_name(body)}, which is not in the recording"
            )
        if accepted(event, message.timestamp) is None:
            yield LoggedEvent(message.partition, message.offset, event)


def _name(event: Event) -> TradeName:
    return event["venue"], event["symbol"], event["trade_id"]

"""Headers as Kafka's own client hands them out, from the broker that it has within itself.

Python's producer only sends names that are UTF-8, other languages' send any bytes. So the messages
are sent with the C library beneath it.
"""

import ctypes
from collections.abc import Iterator, Sequence
from importlib.metadata import files
from time import monotonic

import pytest
from confluent_kafka import Message, Producer

from ingestion.lander.columns import UNREADABLE_HEADERS, dead_letters_of_frames, message_columns
from ingestion.lander.feed import Feed
from lakehouse.kafka import ClientSettings

TOPIC = "market.trades"
DEADLINE_SECONDS = 20
RawHeaders = Sequence[tuple[bytes, bytes | None]]
# librdkafka's names of a message's parts, as `rd_kafka_producev` takes them.
END, NAME, PARTITION, VALUE, FLAGS, HEADERS = 0, 1, 3, 4, 7, 10
COPY = 2


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """The address of a mock broker, which lives as long as the client that it is part of."""
    client = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    found = client.list_topics(TOPIC, timeout=DEADLINE_SECONDS).brokers.values()
    yield ",".join(f"{one.host}:{one.port}" for one in found)
    client.flush(0)


def send(broker: str, messages: Sequence[tuple[bytes, RawHeaders]]) -> None:
    """Send values with their headers, byte for byte, to partition 0."""
    library = next(one for one in files("confluent-kafka") or () if "librdkafka-" in one.name)
    kafka = ctypes.CDLL(str(library.locate()))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(kafka, name).restype = ctypes.c_void_p
    error = ctypes.create_string_buffer(256)
    settings = ctypes.c_void_p(kafka.rd_kafka_conf_new())
    kafka.rd_kafka_conf_set(settings, b"bootstrap.servers", broker.encode(), error, len(error))
    producer = ctypes.c_void_p(kafka.rd_kafka_new(0, settings, error, len(error)))
    assert producer, error.value
    for value, headers in messages:
        made = ctypes.c_void_p(kafka.rd_kafka_headers_new(len(headers)))
        for header, said in headers:
            size = ctypes.c_ssize_t(-1 if said is None else len(said))
            kafka.rd_kafka_header_add(made, header, ctypes.c_ssize_t(len(header)), said, size)
        refused = kafka.rd_kafka_producev(
            producer,
            *(NAME, ctypes.c_char_p(TOPIC.encode())),
            *(PARTITION, ctypes.c_int32(0)),
            *(VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(FLAGS, COPY),
            *(HEADERS, made),
            END,
        )
        assert refused == 0
    assert kafka.rd_kafka_flush(producer, DEADLINE_SECONDS * 1000) == 0
    kafka.rd_kafka_destroy(producer)


def read(broker: str, count: int) -> list[Message]:
    client: ClientSettings = {"bootstrap.servers": broker}
    feed, found = Feed(client, {TOPIC: {0: 0}}, queue_kbytes=1_024), list[Message]()
    give_up = monotonic() + DEADLINE_SECONDS
    try:
        while len(found) < count and monotonic() < give_up:
            found += feed.read(0.2).get(TOPIC, [])
    finally:
        feed.close()
    return found


def test_a_message_whose_headers_cannot_be_read_is_landed_with_all_else(broker: str) -> None:
    # So many that Python has specialised whatever it calls for each of them.
    many: list[tuple[bytes, RawHeaders]] = [(b"plain", [(b"n", b"v")])] * 40
    told: list[tuple[bytes, RawHeaders]] = [
        (b"any bytes", [(b"none", None), (b"binary", b"\xff\0\1"), (b"empty", b"")]),
        (b"no name", [(b"reason", b"x"), (b"\xff\xfe", b"2"), (b"more", b"3")]),
        (b"behind it", [(b"reason", b"y")]),
    ]
    send(broker, many + told)
    columns = message_columns(read(broker, 43))
    assert columns["kafka_offset"].to_pylist() == list(range(43))
    assert columns["payload"].to_pylist()[39:] == [b"plain", b"any bytes", b"no name", b"behind it"]
    assert columns["headers"].to_pylist()[39:] == [
        [("n", b"v")],
        [("none", None), ("binary", b"\xff\0\1"), ("empty", b"")],
        [(UNREADABLE_HEADERS, b"\xff\xfe")],
        [("reason", b"y")],
    ]
    refused = dead_letters_of_frames(columns, "ingest.dead_letters")
    assert refused["reason"].to_pylist()[40:] == ["unknown", "unknown", "y"]

"""What the lander's tests share: a log whose every message is known, and what bronze made of it."""

import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Event

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from pyiceberg.catalog import Catalog

from ingestion.lander.lander import Lander
from ingestion.lander.writer import DEAD_LETTERS_TABLE, Landed
from lakehouse.catalog import load_catalog
from lakehouse.kafka import DEAD_LETTERS_TOPIC, EVENT_TOPICS, TRADES_TOPIC, ensure_topics
from lakehouse.settings import Settings
from schemas import landed_topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

TRADES_TABLE = landed_topics()[TRADES_TOPIC]
DEADLINE_SECONDS = 60.0
BASE = datetime(2024, 8, 9, tzinfo=UTC)
CODEC = EventCodec(ContractRegistry(), 1_000_000)

Place = tuple[int, int, int]


def make_topics_again(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    names = [*EVENT_TOPICS, DEAD_LETTERS_TOPIC]
    for request in admin.delete_topics(names, operation_timeout=DEADLINE_SECONDS).values():
        with suppress(KafkaException):
            request.result()
    wait_for(lambda: not set(names) & set(admin.list_topics(timeout=10).topics), "topics are gone")
    ensure_topics(settings)
    wait_for(lambda: set(names) <= set(admin.list_topics(timeout=10).topics), "topics are there")


def wait_for(condition: object, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def event(number: int) -> bytes:
    return CODEC.encode(
        {
            "event_type": "TRADE",
            "venue": "binance_spot",
            "symbol": f"S{number % 13}",
            "trade_id": number,
            "event_time": BASE + timedelta(milliseconds=number),
            "price": Decimal(number + 1),
            "quantity": Decimal(1),
            "quantity_unit": "BASE",
        }
    )


def message(number: int) -> tuple[str, bytes]:
    """Every seventh event is broken, every fiftieth message was refused by a producer."""
    if number % 50 == 0:
        return DEAD_LETTERS_TOPIC, b"{"
    if number % 7 == 0:
        return TRADES_TOPIC, [b"", b"junk", event(number)[:9]][number % 3]
    return TRADES_TOPIC, event(number)


class Sent:
    """Messages that the broker has acknowledged, by topic and coordinates."""

    def __init__(self, settings: Settings) -> None:
        self.places: dict[tuple[str, bool], set[tuple[int, int]]] = {}
        self._producer = Producer(
            {"bootstrap.servers": settings.bootstrap_servers, "enable.idempotence": True}
        )

    def send(self, numbers: range) -> None:
        for number in numbers:
            topic, value = message(number)
            good = topic == TRADES_TOPIC and number % 7 != 0

            def note(error: object, found: object, key: tuple[str, bool] = (topic, good)) -> None:
                assert error is None
                place = (found.partition(), found.offset())  # type: ignore[attr-defined]
                self.places.setdefault(key, set()).add(place)

            headers = [("reason", b"malformed_json")] if topic == DEAD_LETTERS_TOPIC else None
            key = f"binance_spot:S{number % 13}"
            self._producer.produce(topic, value, key, headers=headers, on_delivery=note)
            self._producer.poll(0)
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def of(self, topic: str, *, good: bool) -> set[tuple[int, int]]:
        return self.places.get((topic, good), set())


def land(settings: Settings, **options: bool) -> Landed:
    return Lander(settings, load_catalog(settings), **options).run(once=True, stop=Event())


def places(catalog: Catalog, table: str, topic: str | None = None) -> Counter[Place]:
    rows = catalog.load_table(table).scan().to_arrow().to_pylist()
    return Counter(
        (row["topic_generation"], row["kafka_partition"], row["kafka_offset"])
        for row in rows
        if topic is None or row["topic"] == topic
    )


def once_each(found: set[tuple[int, int]], generation: int = 0) -> Counter[Place]:
    return Counter((generation, *place) for place in found)


def assert_exact(settings: Settings, sent: Sent) -> None:
    catalog = load_catalog(settings)
    assert places(catalog, TRADES_TABLE) == once_each(sent.of(TRADES_TOPIC, good=True))
    for topic in (TRADES_TOPIC, DEAD_LETTERS_TOPIC):
        found = places(catalog, DEAD_LETTERS_TABLE, topic)
        assert found == once_each(sent.of(topic, good=False))

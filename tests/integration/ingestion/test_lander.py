"""The lander against a real broker and a real catalog: exact through crashes and new topics."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyiceberg.catalog import Catalog

import schemas
from ingestion.lander.cli import PROCESS
from ingestion.lander.commits import BronzeTable, FencedError
from ingestion.lander.lander import Lander
from ingestion.lander.log import EventsLostError, TopicChangedError
from ingestion.lander.writer import DEAD_LETTERS_TABLE, TRADES_TABLE, Landed
from lakehouse.broker import (
    DEAD_LETTERS_TOPIC,
    TRADES_TOPIC,
    ensure_topics,
    start_broker,
    stop_broker,
)
from lakehouse.catalog import load_catalog
from lakehouse.heartbeat import beat_path
from lakehouse.processes import Supervisor
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from schemas import tables
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 60.0
BASE = datetime(2024, 8, 9, tzinfo=UTC)
CODEC = EventCodec(ContractRegistry(), 1_000_000)
LAND = [sys.executable, "-c", "from ingestion.lander.cli import app; app()", "land"]

Place = tuple[int, int, int]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(home=tmp_path_factory.mktemp("broker"))
    supervisor = Supervisor(settings.home)
    try:
        start_broker(settings, supervisor)
        yield settings.bootstrap_servers
    finally:
        stop_broker(settings, supervisor)


@pytest.fixture
def lake(broker: str, tmp_path: Path) -> Settings:
    """A home with empty bronze tables, and empty topics."""
    settings = Settings(home=tmp_path / "home", kafka_bootstrap=broker, lander_commit_seconds=0.05)
    wanted = [schemas.contract(name) for name in (TRADES_TABLE, DEAD_LETTERS_TABLE)]
    tables.apply(load_catalog(settings), wanted)
    make_topics_again(settings)
    return settings


def make_topics_again(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    names = [TRADES_TOPIC, DEAD_LETTERS_TOPIC]
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


def test_once_lands_everything_and_nothing_twice(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(3_000))
    first = land(lake)
    assert first.events == len(sent.of(TRADES_TOPIC, good=True))
    assert_exact(lake, sent)
    table = load_catalog(lake).load_table(TRADES_TABLE)
    before = read_progress(table)
    rows = {row["kafka_offset"]: row for row in table.scan().to_arrow().to_pylist()}
    assert before is not None
    assert all(row["ingested_at"] < before.ingested_through for row in rows.values())
    decoded = [CODEC.event_time_of(row["payload"]) for row in rows.values()]
    assert [at for _, at in decoded] == [
        (row["event_time"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        for row in rows.values()
    ]

    again = land(lake)
    assert (again.events, again.dead_letters) == (0, 0)
    after = read_progress(load_catalog(lake).load_table(TRADES_TABLE))
    assert after is not None
    assert after.offsets == before.offsets
    assert after.ingested_through > before.ingested_through

    sent.send(range(3_000, 3_500))
    land(lake)
    assert_exact(lake, sent)
    reasons = load_catalog(lake).load_table(DEAD_LETTERS_TABLE).scan().to_arrow()["reason"]
    assert set(reasons.to_pylist()) == {
        "malformed_json",
        "empty_payload",
        "bad_magic_byte",
        "truncated_payload",
    }


def test_kill_at_random_moments_loses_and_doubles_nothing(lake: Settings) -> None:
    sent, chance = Sent(lake), random.Random(7)
    stop = Event()

    def produce() -> None:
        start = 0
        while not stop.wait(0.02):
            sent.send(range(start, start + 400))
            start += 400

    def offsets() -> object:
        progress = read_progress(load_catalog(lake).load_table(TRADES_TABLE))
        return None if progress is None else dict(progress.offsets)

    environ = {"LAKEHOUSE_HOME": str(lake.home), "LAKEHOUSE_LANDER_COMMIT_SECONDS": "0.02"}
    environ["LAKEHOUSE_KAFKA_BOOTSTRAP"] = lake.bootstrap_servers
    producer = Thread(target=produce)
    producer.start()
    try:
        for _ in range(5):
            before = offsets()
            process = subprocess.Popen(LAND, env=environ, stderr=subprocess.DEVNULL)
            try:
                wait_for(lambda seen=before: offsets() != seen, "the lander commits")
                time.sleep(chance.uniform(0, 0.3))  # the random moment itself
            finally:
                process.kill()
                process.wait()
    finally:
        stop.set()
        producer.join()
    land(lake)
    assert_exact(lake, sent)


def test_a_crash_between_dead_letters_and_events_doubles_neither(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(lake)
    sent.send(range(700))
    original = BronzeTable.append

    def crash(self: BronzeTable, rows: object, end: object) -> None:
        if self.name == TRADES_TABLE and len(rows):  # type: ignore[arg-type]
            raise KeyboardInterrupt
        original(self, rows, end)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(BronzeTable, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            land(lake)
    assert places(load_catalog(lake), DEAD_LETTERS_TABLE)
    assert not places(load_catalog(lake), TRADES_TABLE)
    sent.send(range(700, 900))
    land(lake)
    assert_exact(lake, sent)


def test_termination_commits_what_was_read_and_exits_cleanly(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1_000))
    environ = {
        "LAKEHOUSE_HOME": str(lake.home),
        "LAKEHOUSE_KAFKA_BOOTSTRAP": lake.bootstrap_servers,
        "LAKEHOUSE_LANDER_COMMIT_SECONDS": "3600",
        "LAKEHOUSE_LOG_LEVEL": "DEBUG",
    }
    process = subprocess.Popen(LAND, env=environ, stderr=subprocess.DEVNULL)
    try:
        beat = beat_path(lake.home, PROCESS)
        wait_for(beat.exists, "the lander beats")
        # It beats after a read, once a second at most: by the later ones it has long connected.
        for _ in range(2):
            last = beat.stat().st_mtime_ns
            wait_for(lambda seen=last: beat.stat().st_mtime_ns > seen, "the lander goes on")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    progress = read_progress(load_catalog(lake).load_table(TRADES_TABLE))
    assert progress is not None
    assert sum(progress.offsets.values()) > 0
    land(lake)
    assert_exact(lake, sent)


def test_a_topic_made_again_is_refused_then_declared(lake: Settings) -> None:
    old = Sent(lake)
    old.send(range(1, 200))
    land(lake)
    make_topics_again(lake)
    new = Sent(lake)
    new.send(range(1, 300))
    with pytest.raises(TopicChangedError, match="--new-generation"):
        land(lake)
    assert places(load_catalog(lake), TRADES_TABLE) == once_each(old.of(TRADES_TOPIC, good=True))

    land(lake, new_generation=True)
    expected = once_each(old.of(TRADES_TOPIC, good=True)) + once_each(
        new.of(TRADES_TOPIC, good=True), generation=1
    )
    assert places(load_catalog(lake), TRADES_TABLE) == expected
    dead = once_each(old.of(TRADES_TOPIC, good=False)) + once_each(
        new.of(TRADES_TOPIC, good=False), generation=1
    )
    assert places(load_catalog(lake), DEAD_LETTERS_TABLE, TRADES_TOPIC) == dead
    land(lake)
    assert places(load_catalog(lake), TRADES_TABLE) == expected


def test_a_topic_made_again_under_a_running_lander_stops_it(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1, 100))
    lander = Lander(lake, load_catalog(lake))
    make_topics_again(lake)
    Sent(lake).send(range(1, 400))
    with pytest.raises(TopicChangedError, match="made again while it was being landed"):
        lander.run(once=True, stop=Event())
    assert not places(load_catalog(lake), TRADES_TABLE)


def test_events_that_kafka_deleted_are_not_passed_over_silently(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1, 400))
    landed = sent.of(TRADES_TOPIC, good=True)
    cut = max(landed)
    admin = AdminClient({"bootstrap.servers": lake.bootstrap_servers})
    (request,) = admin.delete_records([TopicPartition(TRADES_TOPIC, *cut)]).values()
    request.result()
    with pytest.raises(EventsLostError, match=f"{cut[1]} of partition {cut[0]}"):
        land(lake)
    land(lake, accept_loss=True)
    left = {place for place in landed if place[0] != cut[0] or place[1] >= cut[1]}
    assert places(load_catalog(lake), TRADES_TABLE) == once_each(left)


def test_of_two_landers_one_is_fenced(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1, 500))
    first, second = (Lander(lake, load_catalog(lake)) for _ in range(2))
    first.run(once=True, stop=Event())
    with pytest.raises(FencedError, match=r"bronze\.dead_letters|bronze\.market_trades"):
        second.run(once=True, stop=Event())
    assert_exact(lake, sent)

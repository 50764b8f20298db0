"""The producers' verbs against a real broker: what arrives where, and how they end."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from websockets.asyncio.server import ServerConnection, serve

from ingestion.adapters import venue_of_file
from ingestion.producer import EventProducer
from ingestion.replay import adapters_for, replay
from lakehouse.broker import PROCESS, start_broker
from lakehouse.delivery import BrokerUnavailableError
from lakehouse.kafka import DEAD_LETTERS_TOPIC, TRADES_TOPIC, client_settings, ensure_topics
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[3]
SAMPLE = sorted((REPOSITORY / "demo" / "data").glob("*.gz"))
DEADLINE_SECONDS = 60.0
CODEC = EventCodec(ContractRegistry(), 1_000_000)
# As the command line does it, but for the other rooms' verbs, which need not be importable.
VERB = [
    sys.executable,
    "-c",
    "from lakehouse.telemetry import configure_logging; configure_logging('test');"
    "from ingestion.cli import app; app()",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = Settings(home=tmp_path_factory.mktemp("producers"))
    supervisor = Supervisor(settings.home)
    try:
        start_broker(settings, supervisor)
        ensure_topics(settings)
        yield settings
    finally:
        supervisor.stop(PROCESS)


class Tail:
    """What was written to a topic since this was made."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap_servers, "group.id": "tests", "fetch.max.bytes": 2**26}
        )
        self._topic = topic
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._ends = {partition: self._end(partition) for partition in partitions}
        self.start = sum(self._ends.values())
        self._consumer.assign([TopicPartition(topic, *at) for at in self._ends.items()])

    def _end(self, partition: int) -> int:
        ends: list[int] = []

        def known() -> bool:
            # A topic that was just made may have no leader yet.
            with suppress(KafkaException):
                place = TopicPartition(self._topic, partition)
                ends.extend(self._consumer.get_watermark_offsets(place, timeout=10) or ())
            return bool(ends)

        wait_for(known)
        return ends[1]

    def written(self) -> int:
        """Return how many messages are there by now."""
        return sum(self._end(partition) for partition in self._ends) - self.start

    def read(self) -> list[Message]:
        """Return all messages that are there by now."""
        messages: list[Message] = []
        expected, deadline = self.written(), time.monotonic() + DEADLINE_SECONDS
        while len(messages) < expected:
            assert time.monotonic() < deadline
            messages += self._consumer.consume(10_000, timeout=0.2)
        assert not any(message.error() for message in messages)
        return messages

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


@pytest.fixture
def trades(home: Settings) -> Iterator[Tail]:
    with closing(Tail(home.bootstrap_servers, TRADES_TOPIC)) as tail:
        yield tail


@pytest.fixture
def dead_letters(home: Settings) -> Iterator[Tail]:
    with closing(Tail(home.bootstrap_servers, DEAD_LETTERS_TOPIC)) as tail:
        yield tail


def start(home: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*VERB, *arguments, "--json"],
        cwd=REPOSITORY,
        env=os.environ | {"LAKEHOUSE_HOME": str(home.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def summary_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def run(home: Settings, *arguments: str) -> dict[str, Any]:
    return summary_of(start(home, *arguments))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Return where Kafka's Java clients put a key; written from the hash's own definition."""
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for start_at in range(0, whole, 4):
        word = int.from_bytes(key[start_at : start_at + 4], "little") * mix & mask
        word = (word ^ word >> 24) * mix & mask
        value = (value * mix & mask) ^ word
    if rest := key[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * mix & mask
    value = (value ^ value >> 13) * mix & mask
    return ((value ^ value >> 15) & 0x7FFFFFFF) % partitions


def test_replayed_sample_is_in_the_log_once_and_in_order(home: Settings, trades: Tail) -> None:
    summary = run(home, "replay", *map(str, SAMPLE))
    assert summary["events"] == summary["frames"] == 43_249
    assert summary["rejected"] == {}

    messages = trades.read()
    by_key: dict[bytes, list[int]] = {}
    for message in messages:
        event = CODEC.decode(message.value())
        assert message.key() == f"{event['venue']}:{event['symbol']}".encode()
        assert message.partition() == murmur2_partition(message.key(), home.topic_partitions)
        by_key.setdefault(message.key(), []).append(event["trade_id"])
    for path in SAMPLE:
        adapt = venue_of_file(path).adapt
        with gzip.open(path) as lines:
            frames = [adapt(line.partition(b" ")[2], None) for line in lines]
        key = f"{frames[0]['venue']}:{frames[0]['symbol']}".encode()  # type: ignore[index]
        assert by_key.pop(key) == [event["trade_id"] for event in frames if event]
    assert by_key == {}


def test_bad_input_is_in_the_dead_letters_and_the_rest_in_the_log(
    home: Settings, trades: Tail, dead_letters: Tail, tmp_path: Path
) -> None:
    with gzip.open(SAMPLE[2], "rb") as sample:
        good = [next(sample).rstrip() for _ in range(200)]
    spoiled = good[100][:-25]
    frames = tmp_path / "frames"
    huge = b"9 " + b"x" * 10_000_000
    frames.write_bytes(b"\r\n".join([*good[:100], spoiled, b"\x00\xff", huge, *good[101:]]))
    no_gzip = tmp_path / "no.gz"
    no_gzip.write_bytes(b"\n".join(good))
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"\n".join(good[:100]))[:-10])

    summary = run(home, "replay", *map(str, (frames, no_gzip, cut)), "--venue", "binance_spot")

    rejected = {"malformed_json": 2, "malformed_line": 1, "not_gzip": 1, "truncated_gzip": 1}
    assert summary["rejected"] == rejected
    # Of the cut file, the last line may miss its end.
    assert summary["events"] == trades.written() >= 199 + 99
    letters = dead_letters.read()
    headers = [dict(letter.headers() or ()) for letter in letters]
    assert Counter(header["reason"].decode() for header in headers) == rejected
    assert {header["stage"] for header in headers} == {b"producer"}
    by_source = {
        header["source"].decode(): letter for header, letter in zip(headers, letters, strict=True)
    }
    assert by_source[f"{frames}:101"].value() == spoiled.partition(b" ")[2]
    assert by_source[f"{frames}:102"].value() == b"\x00\xff"
    assert by_source[f"{frames}:103"].value() == huge[2:]


def test_same_options_send_the_same_load(home: Settings) -> None:
    load = "--rate 0 --events 3000 --seed 7 --start 2024-08-08T12:00:00"
    faults = "--late .05 --duplicate .05 --out-of-order .05 --bad .05 --cancels .05"
    sent = []
    for _ in range(2):
        with closing(Tail(home.bootstrap_servers, TRADES_TOPIC)) as tail:
            summary = run(home, "synth", *load.split(), *faults.split())
            messages = tail.read()
        assert summary["events"] + summary["undecodable"] == len(messages) == 3_000
        sent.append([(m.partition(), m.key(), m.value()) for m in messages])
    by_partition = [sorted(messages, key=lambda message: message[0] or 0) for messages in sent]
    assert by_partition[0] == by_partition[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_load_has_sent_what_it_says(
    home: Settings, trades: Tail, number: signal.Signals
) -> None:
    process = start(home, "synth", "--rate", "2000")
    wait_for(lambda: trades.written() > 1_000)
    process.send_signal(number)
    assert summary_of(process)["events"] == trades.written()


@contextmanager
def exchange(frames: list[str]) -> Iterator[str]:
    """Serve recorded frames on a thread of its own, then stay silent."""
    loop, ports = asyncio.new_event_loop(), []
    ready, stop = threading.Event(), asyncio.Event()

    async def session(connection: ServerConnection) -> None:
        for frame in frames:
            await connection.send(frame)
        await connection.wait_closed()

    async def run_server() -> None:
        async with serve(session, "127.0.0.1", 0, close_timeout=0.1) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run_server(),))
    thread.start()
    try:
        assert ready.wait(DEADLINE_SECONDS)
        yield f"ws://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE_SECONDS)
        loop.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_live_feed_ends_politely(
    home: Settings, trades: Tail, dead_letters: Tail, number: signal.Signals
) -> None:
    with gzip.open(SAMPLE[2], "rt") as sample:
        frames = [next(sample).partition(" ")[2].rstrip() for _ in range(300)]
    with exchange([*frames[:150], "garbage", *frames[160:]]) as address:
        process = start(
            home, "feed", "--venue", "binance_spot", "--symbol", "BTCUSDT", "--url", address
        )
        wait_for(lambda: trades.written() == 290)
        process.send_signal(number)
        summary = summary_of(process)
    assert summary["events"] == 290
    assert summary["rejected"] == {"malformed_json": 1}
    assert (summary["gaps"], summary["missing_trades"]) == (1, 10)
    (letter,) = dead_letters.read()
    assert letter.value() == b"garbage"


def test_absent_broker_and_absent_topic_are_named(home: Settings) -> None:
    encode = EventCodec(ContractRegistry(), 1).encode
    with pytest.raises(BrokerUnavailableError, match="no Kafka broker answers at 127"):
        EventProducer.connect(
            {"bootstrap.servers": "127.0.0.1:1"}, encode, max_payload_bytes=1, timeout_seconds=1
        )
    admin = AdminClient({"bootstrap.servers": home.bootstrap_servers})
    admin.delete_topics([DEAD_LETTERS_TOPIC])[DEAD_LETTERS_TOPIC].result()
    wait_for(lambda: DEAD_LETTERS_TOPIC not in admin.list_topics(timeout=10).topics)
    try:
        with pytest.raises(BrokerUnavailableError, match=DEAD_LETTERS_TOPIC):
            EventProducer.connect(client_settings(home), encode, max_payload_bytes=1)
    finally:
        ensure_topics(home)
        wait_for(lambda: DEAD_LETTERS_TOPIC in admin.list_topics(timeout=10).topics)


def test_broker_that_goes_away_for_a_while_loses_and_doubles_nothing(
    home: Settings, trades: Tail
) -> None:
    broker = Supervisor(home.home).find("kafka")
    assert broker is not None
    path = SAMPLE[0]
    producer = EventProducer.connect(
        client_settings(home),
        EventCodec(ContractRegistry(), 1_000_000).encode,
        max_payload_bytes=1_000_000,
    )
    paused = threading.Timer(1.0, os.kill, (broker.pid, signal.SIGCONT))
    with producer:
        os.kill(broker.pid, signal.SIGSTOP)
        paused.start()
        replay(adapters_for([path], None), producer)
    paused.join()
    ids = [CODEC.decode(message.value())["trade_id"] for message in trades.read()]
    assert ids == list(range(ids[0], ids[0] + 5_235))

"""Lander throughput beside a bare consumer of the same topic, on a broker of its own.

Usage: python bench/lander.py [--events 3000000] [--rounds 3] [--json out.json]

Each round runs, one after the other, a bare confluent-kafka consumer and the lander, each as a
fresh process, on the same preloaded events; the order alternates. Figures are the medians of the
rounds; the ratio is taken within each round first, because machines drift.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from threading import Event

from confluent_kafka import Producer

import schemas
from ingestion.lander.feed import Feed
from ingestion.lander.lander import QUEUE_KBYTES, Lander
from ingestion.lander.log import KafkaLog
from ingestion.lander.writer import DEAD_LETTERS_TABLE, TRADES_TABLE
from lakehouse.broker import PROCESS, start_broker
from lakehouse.catalog import load_catalog
from lakehouse.kafka import TRADES_TOPIC, client_settings, ensure_topics
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from lakehouse.telemetry import configure_logging
from schemas import tables
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

# Encoding one event in Python takes longer than landing ten; the trade id makes each distinct.
TEMPLATES = 2_000
TEMPLATE_ID = 2**34
BASE = datetime(2024, 8, 9, tzinfo=UTC)
PEERS = ("bare", "lander")


def preload(settings: Settings, events: int) -> None:
    """Fill the topic with distinct trades of twelve symbols."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
        }
    )
    templates = list(_templates(settings.max_payload_bytes))
    for number in range(events):
        key, head, tail = templates[number % TEMPLATES]
        value = head + _varint(TEMPLATE_ID + number) + tail
        while True:
            try:
                producer.produce(TRADES_TOPIC, value, key)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(120):
        raise SystemExit("the broker did not take all events")


def _templates(max_payload_bytes: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    codec, chance = EventCodec(ContractRegistry(), max_payload_bytes), Random(7)
    for number in range(TEMPLATES):
        symbol = f"SYM{chance.randrange(12)}USDT"
        at = BASE + timedelta(microseconds=chance.randrange(3_600_000_000))
        payload = codec.encode(
            {
                "event_type": "TRADE",
                "venue": "binance_spot",
                "symbol": symbol,
                "trade_id": TEMPLATE_ID + number,
                "event_time": at,
                "price": Decimal(chance.randrange(10**9)) / 10**4,
                "quantity": Decimal(chance.randrange(1, 10**9)) / 10**8,
                "quantity_unit": "BASE",
                "aggressor_side": chance.choice(["BUY", "SELL"]),
                "received_at": at + timedelta(milliseconds=chance.randrange(900)),
            }
        )
        head, tail = payload.split(_varint(TEMPLATE_ID + number), 1)
        yield f"binance_spot:{symbol}".encode(), head, tail


def _varint(value: int) -> bytes:
    raw, out = value << 1, bytearray()
    while raw >= 0x80:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*out, raw])


def consume_bare(settings: Settings) -> int:
    """Read all events and do nothing with them, not even look at their values."""
    client = client_settings(settings)
    found = KafkaLog(client).state(TRADES_TOPIC)
    feed = Feed(client, TRADES_TOPIC, found.starts, queue_kbytes=QUEUE_KBYTES)
    count, wanted = 0, sum(found.ends.values()) - sum(found.starts.values())
    while count < wanted:
        count += len(feed.read(0.1))
    feed.close()
    return count


def land(settings: Settings) -> int:
    """Land all events in empty tables of this process's own."""
    configure_logging("bench", "WARNING")
    with tempfile.TemporaryDirectory(dir=settings.home) as home:
        own = settings.model_copy(
            update={"home": Path(home), "kafka_bootstrap": settings.bootstrap_servers}
        )
        catalog = load_catalog(own)
        tables.apply(catalog, [schemas.contract(n) for n in (TRADES_TABLE, DEAD_LETTERS_TABLE)])
        landed = Lander(own, catalog).run(once=True, stop=Event())
        rows = catalog.load_table(TRADES_TABLE).current_snapshot()
        total = 0 if rows is None or rows.summary is None else rows.summary["total-records"]
        if int(total or 0) != landed.events:
            raise SystemExit(f"{total} rows of {landed.events} events")
    return landed.events


def measure(settings: Settings, peer: str) -> dict[str, float]:
    """Run one peer in this process; imports are done, connecting is not."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    count = consume_bare(settings) if peer == "bare" else land(settings)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "events": count,
        "seconds": seconds,
        "events_per_second": count / seconds,
        "cpu_seconds_per_million": cpu / count * 1e6,
        "peak_rss_mb": after.ru_maxrss / 1024,
    }


def run_rounds(settings: Settings, rounds: int) -> dict[str, object]:
    """Run the peers in turn, each in a process of its own."""
    results: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
    for number in range(rounds):
        for peer in PEERS if number % 2 == 0 else reversed(PEERS):
            argv = [sys.executable, __file__, "--peer", peer]
            environ = os.environ | {"LAKEHOUSE_HOME": str(settings.home)}
            done = subprocess.run(argv, env=environ, check=True, stdout=subprocess.PIPE)
            results[peer].append(json.loads(done.stdout))
            print(f"round {number + 1} {peer}: {_line(results[peer][-1])}", file=sys.stderr)
    pairs = list(zip(results["lander"], results["bare"], strict=True))
    ratios = {
        name: statistics.median(mine[name] / bare[name] for mine, bare in pairs)
        for name in ("events_per_second", "cpu_seconds_per_million")
    }
    medians = {
        peer: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for peer, runs in results.items()
    }
    return {"median": medians, "lander_to_bare": ratios, "rounds": results}


def _line(figures: dict[str, float]) -> str:
    return (
        f"{figures['events_per_second']:,.0f} events/s, "
        f"{figures['cpu_seconds_per_million']:.2f} CPU s per million, "
        f"{figures['peak_rss_mb']:.0f} MB at peak"
    )


def main() -> None:
    """Preload, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(measure(Settings(), arguments.peer)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-lander-") as home:
        settings = Settings(home=Path(home))
        supervisor = Supervisor(settings.home)
        try:
            start_broker(settings, supervisor)
            ensure_topics(settings)
            preload(settings, arguments.events)
            figures = run_rounds(settings, arguments.rounds)
        finally:
            supervisor.stop(PROCESS)
    for peer in PEERS:
        print(f"{peer:>7}: {_line(figures['median'][peer])}")  # type: ignore[index]
    ratios = figures["lander_to_bare"]
    print(
        f"  ratio: {ratios['events_per_second']:.2f} of its events/s, "  # type: ignore[index]
        f"{ratios['cpu_seconds_per_million']:.2f} of its CPU per event"
    )  # type: ignore[index]
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

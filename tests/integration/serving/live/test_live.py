"""The live tier as a process, on a real broker: killed, started again, and held to the oracle.

Silver is written by the test, from what the oracle knows: whole up to some place in the log, as the
speed layer would have it seconds behind. No Spark takes part.
"""

import itertools
import json
import os
import random
import signal
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from embedded_lake import EmbeddedLake
from fill_log import fill
from fill_log import payload as fill_payload
from live_logs import CASES, plain, silver_rows
from quote_log import payload as quote_payload
from quote_log import quote
from trade_log import DEFAULTS, payload

from demo.oracle import LoggedEvent
from demo.verdict import compare
from lakehouse.kafka import TRADES_TOPIC
from serving.live.relations import RELATIONS, LiveRow, key_of
from serving.live_rows.store import LiveStore

pytestmark = [pytest.mark.integration, pytest.mark.serving]

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
DEADLINE_SECONDS = 60.0


class Market:
    """Sends trades of the minutes around now, and knows where each stands in the log."""

    def __init__(self, lake: EmbeddedLake) -> None:
        self._lake = lake
        self.now = datetime.now(UTC).replace(second=0, microsecond=0)
        self._chance = random.Random(7)
        self._producer = Producer({"bootstrap.servers": lake.settings.bootstrap_servers})
        self._numbers = itertools.count(1)
        self.log: list[LoggedEvent] = []

    def trade(self, number: int) -> dict[str, Any]:
        """Return an event about a trade of the last minutes, or of a quarter of an hour ago."""
        chance = self._chance
        late = chance.random() < 0.02
        kind = chance.choices(["TRADE", "CORRECTION", "CANCEL"], [20, 1, 1])[0]
        identity = number if kind == "TRADE" else max(1, number - chance.randrange(1, 40))
        sizes = [None, None] if kind == "CANCEL" else [self._amount(), self._amount()]
        return DEFAULTS | {
            "event_type": kind,
            "symbol": SYMBOLS[identity % len(SYMBOLS)],
            "trade_id": identity,
            "event_time": self.now
            - timedelta(minutes=15 if late else identity // 200 % 2, seconds=-(identity % 50)),
            "price": sizes[0],
            "quantity": sizes[1],
        }

    def _amount(self) -> Decimal:
        return Decimal(self._chance.randrange(1, 10**10)).scaleb(-8)

    def send(self, topic: str, key: str, event: dict[str, Any] | None, value: bytes) -> None:
        """Send a message; note a sound event's place."""

        def note(error: object, message: Any) -> None:
            assert error is None
            if event is not None:
                self.log.append(LoggedEvent(message.partition(), message.offset(), event))

        self._producer.produce(topic, value, key, on_delivery=note)

    def trades(self, count: int) -> None:
        """Send trades, one in ten twice, one in twenty of the messages rubbish."""
        for _ in range(count):
            number = next(self._numbers)
            event = self.trade(number)
            key = f"{event['venue']}:{event['symbol']}"
            for _ in range(2 if number % 10 == 0 else 1):
                self.send(TRADES_TOPIC, key, event, payload(**event))
            if number % 20 == 0:
                self.send(TRADES_TOPIC, key, None, b"\x00\x00\x00\x00\x01rubbish")
                refused = event | {"price": Decimal(-1), "event_type": "TRADE"}
                self.send(TRADES_TOPIC, key, None, payload(**refused))
        self.flush()

    def flush(self) -> None:
        """Return when the broker has everything."""
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def settle(self, log: list[LoggedEvent]) -> None:
        """Put a beginning of the log into the speed layer's silver, one version of each row."""
        table = self._lake.catalog.load_table("silver.trades_rt")
        rows = [row for part in by_partition(log) for row in silver_rows(CASES["bars_1m"], part)]
        table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))


def by_partition(log: list[LoggedEvent]) -> list[list[LoggedEvent]]:
    """Return what stands in each partition, in its order."""
    parts: dict[int, list[LoggedEvent]] = defaultdict(list)
    for logged in sorted(log, key=lambda one: one.position):
        parts[logged.partition].append(logged)
    return list(parts.values())


def expected_bars(log: list[LoggedEvent]) -> dict[str, Any]:
    """Return the oracle's bars: a symbol's events are all in one partition."""
    rows = [
        plain(row) for part in by_partition(log) for row in CASES["bars_1m"].expected(part).values()
    ]
    return {key_of(RELATIONS["bars_1m"], row): row for row in rows}


def assert_exact(row: LiveRow, log: list[LoggedEvent]) -> None:
    """Hold a row against the oracle as of the row's own offset."""
    as_of = [
        one
        for one in log
        if one.event["symbol"] == row.values["symbol"] and one.position <= row.last_offset
    ]
    expected = {row.key: expected_bars(as_of)[row.key]}
    verdict = compare(expected, [row.values], key=RELATIONS["bars_1m"].key)
    assert verdict.equal, str(verdict)


def assert_all_exact(lake: EmbeddedLake, log: list[LoggedEvent]) -> int:
    """Hold every row that was ever told against the oracle, and that no key went back."""
    relation, newest, rows = RELATIONS["bars_1m"], dict[str, int](), 0
    for message in lake.log(relation.topic):
        values = json.loads(message.payload or b"")
        if values.get("symbol") not in SYMBOLS:
            continue  # how far the rows go, or another test's
        row = LiveRow(relation.name, key_of(relation, values), 0, values["last_offset"], values)
        assert newest.get(row.key, -1) <= row.last_offset, f"{row.key} went back"
        newest[row.key] = row.last_offset
        assert_exact(row, log)
        rows += 1
    return rows


def wait_until_told(lake: EmbeddedLake, store: LiveStore, market: Market) -> None:
    """Wait until the bars of the last two minutes are as new as the log."""
    newest = {
        key: row["last_offset"]
        for key, row in expected_bars(market.log).items()
        if row["window_start"] >= market.now - timedelta(minutes=1)
    }

    def are_told() -> bool:
        rows = store.rows("bars_1m")
        known = {key_of(RELATIONS["bars_1m"], row): row["last_offset"] for row in rows}
        return newest.items() <= known.items()

    lake.wait_until(are_told, "the newest bars are told", deadline_seconds=60)


def test_killed_at_any_moment_it_goes_on_with_the_oracle_s_rows(live_lake: EmbeddedLake) -> None:
    market, chance, rebuilt = Market(live_lake), random.Random(11), []
    with LiveStore(live_lake.settings) as store:
        for _ in range(4):
            market.trades(150)
            started = time.monotonic()
            live_lake.start("live")
            market.trades(150)
            wait_until_told(live_lake, store, market)
            rebuilt.append(round(time.monotonic() - started, 1))
            # Silver stays behind what is told until the end.
            seen_by_silver = list(market.log)
            for _ in range(chance.randrange(5, 30)):
                market.trades(5)
            live_lake.kill("live")
            market.settle(seen_by_silver)
    assert assert_all_exact(live_lake, market.log) > 100
    print(f"rebuilt in {rebuilt} s")


def test_quotes_and_fills_are_told_too_and_it_stops_cleanly(live_lake: EmbeddedLake) -> None:
    market = Market(live_lake)
    made = {
        "spreads_1m": [
            quote(n, n % 50, event_time=market.now + timedelta(seconds=n % 50)) for n in range(80)
        ],
        "positions": [
            fill(
                n, side=("BUY", "SELL")[n % 3 == 0], quantity=Decimal(n + 1), event_time=market.now
            )
            for n in range(80)
        ],
    }
    for name, events in made.items():
        stream = CASES[name].stream
        encode = quote_payload if name == "spreads_1m" else lambda event: fill_payload(**event)
        for event in [*events, *events[:5]]:
            market.send(stream.topic, stream.group_of(event), event, encode(event))
    market.flush()
    live_lake.start("live")
    with LiveStore(live_lake.settings) as store:
        for name, events in made.items():
            log = [one for one in market.log if one.event in events]
            expected = CASES[name].expected(log)

            def is_told(name: str = name, expected: Any = expected) -> bool:
                rows, key = store.rows(name), RELATIONS[name].key
                verdict = compare(expected, rows, key=key, ignore=["log_partition"])
                return bool(rows) and verdict.equal

            live_lake.wait_until(is_told, f"{name} are the oracle's", deadline_seconds=60)
        for name in made:
            live_lake.wait_until(
                lambda name=name: (store.age_seconds(name) or DEADLINE_SECONDS) < 10,
                f"what comes is told of {name}",
                deadline_seconds=DEADLINE_SECONDS,
            )
    record = live_lake.supervisor.find("live")
    assert record is not None
    os.kill(record.pid, signal.SIGTERM)
    live_lake.wait_until(lambda: not record.alive, "live ends", deadline_seconds=20)
    assert "Traceback" not in live_lake.tail("live")

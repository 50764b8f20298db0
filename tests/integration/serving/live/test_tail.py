"""The tail of the log on a real broker, in this process: one stream's trouble is no other's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from embedded_lake import EmbeddedLake
from live_logs import CASES, silver_rows
from quote_log import payload as quote_payload
from quote_log import quote
from trade_log import DEFAULTS, payload

from demo.oracle import LoggedEvent
from lakehouse.catalog import load_catalog
from lakehouse.kafka import QUOTES_TOPIC, TRADES_TOPIC
from lakehouse.log_starts import log_ends
from lakehouse.poison import Layer, Place, note_poison
from lakehouse.positions import LogPosition
from schemas.registry import ContractRegistry, RegistryUnavailableError
from serving.live import memory, tail
from serving.live.bars import Bar
from serving.live.history import History
from serving.live.spreads import Spread
from serving.live_rows.store import LiveStore

pytestmark = [pytest.mark.integration, pytest.mark.serving]

DEADLINE_SECONDS = 60.0
# Of a schema that no contract knows.
FOREIGN = b"\x00\x00\x00\xff\xff..."


class Market:
    """Sends events of an instrument that no other test has, and sees what is told of it."""

    def __init__(self, lake: EmbeddedLake, store: LiveStore, symbol: str) -> None:
        self.now = datetime.now(UTC)
        self._lake, self._store, self._symbol = lake, store, symbol
        self._key = f"binance_spot:{symbol}"
        self._producer = Producer({"bootstrap.servers": lake.settings.bootstrap_servers})

    def event(self, number: int) -> dict[str, Any]:
        said = {"symbol": self._symbol, "trade_id": number, "event_time": self.now}
        return DEFAULTS | said

    def trade(self, *numbers: int) -> list[Place]:
        """Send trades; return where they stand."""
        return [self.send(TRADES_TOPIC, payload(**self.event(number))) for number in numbers]

    def quote(self) -> None:
        said = quote(1, event_time=self.now, symbol=self._symbol)
        self.send(QUOTES_TOPIC, quote_payload(said))

    def send(self, topic: str, value: bytes) -> Place:
        places = []

        def note(error: object, message: Any) -> None:
            assert error is None
            place = Place(message.partition(), LogPosition(0, message.offset()).encode())
            places.append(place)

        self._producer.produce(topic, value, self._key, on_delivery=note)
        assert self._producer.flush(DEADLINE_SECONDS) == 0
        return places[0]

    def wait_for(self, relation: str, **values: Any) -> None:
        """Wait until the row of the instrument's minute has some values."""

        def is_told() -> bool:
            rows = self._store.rows(relation, f"{self._key}:")
            return [{name: row[name] for name in values} for row in rows] == [values]

        self._lake.wait_until(is_told, str(values), deadline_seconds=DEADLINE_SECONDS)

    def wait_for_nothing(self, relation: str) -> None:
        """Wait until no row of the instrument is held."""
        rows = partial(self._store.rows, relation, f"{self._key}:")
        self._lake.wait_until(lambda: not rows(), "no row", deadline_seconds=DEADLINE_SECONDS)


@pytest.fixture
def exchange(live_lake: EmbeddedLake, request: pytest.FixtureRequest) -> Iterator[Market]:
    """A market at whose beginning silver has all that other tests have sent."""
    for topic, relation, table_name, event in (
        (TRADES_TOPIC, "bars_1m", "silver.trades_rt", DEFAULTS),
        (QUOTES_TOPIC, "spreads_1m", "silver.quotes_rt", quote(1)),
    ):
        table = live_lake.catalog.load_table(table_name)
        ends = log_ends(live_lake.settings, topic)
        log = [LoggedEvent(partition, end - 1, event) for partition, end in ends.items() if end]
        rows = [
            row | {"log_partition": logged.partition}
            for logged in log
            for row in silver_rows(CASES[relation], [logged])
        ]
        table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    with LiveStore(live_lake.settings) as store:
        yield Market(live_lake, store, f"T{abs(hash(request.node.name))}")


@contextmanager
def running(lake: EmbeddedLake) -> Iterator[None]:
    """Let the live tier work in a thread; whatever ends it is raised."""
    stop = Event()
    begun = tail.Tail(lake.settings, load_catalog(lake.settings), (Bar, Spread))
    with ThreadPoolExecutor(1) as executor:
        ran = executor.submit(begun.run, stop, lambda: None)
        try:
            yield
        finally:
            stop.set()
            ran.result(DEADLINE_SECONDS)


def test_a_registry_that_is_away_stops_one_stream_and_ends_nothing(
    live_lake: EmbeddedLake, exchange: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, is_back = Event(), Event()

    class Registry(ContractRegistry):
        def schema_for(self, schema_id: int) -> str:
            if asked.is_set() or schema_id not in self._by_id:
                asked.set()
                if not is_back.is_set():
                    raise RegistryUnavailableError("nobody answers")
            return super().schema_for(schema_id)

    monkeypatch.setattr(tail, "schema_registry", lambda *_, **__: Registry())
    with running(live_lake):
        exchange.trade(1)
        exchange.wait_for("bars_1m", trade_count=1)
        exchange.send(TRADES_TOPIC, FOREIGN)
        exchange.trade(2, 3)
        assert asked.wait(DEADLINE_SECONDS)
        exchange.quote()
        exchange.wait_for("spreads_1m", quote_count=1)
        exchange.wait_for("bars_1m", trade_count=1)
        is_back.set()
        exchange.wait_for("bars_1m", trade_count=3)


def test_a_stream_of_which_too_much_waits_is_alone_in_waiting(
    live_lake: EmbeddedLake, exchange: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, is_asked, goes_on, reach = Event(), Event(), Event(), History.reach

    def slow_reach(history: History) -> dict[int, int]:
        if history._stream is Bar and has_begun.is_set():
            is_asked.set()
            assert goes_on.wait(DEADLINE_SECONDS)
        return reach(history)

    monkeypatch.setattr(History, "reach", slow_reach)
    monkeypatch.setattr(memory, "MOST_WAITING", 6)
    with running(live_lake):
        has_begun.set()
        try:
            exchange.trade(1)
            assert is_asked.wait(DEADLINE_SECONDS)
            exchange.trade(*range(2, 10))
            exchange.quote()
            exchange.wait_for("spreads_1m", quote_count=1)
        finally:
            goes_on.set()
        exchange.wait_for("bars_1m", trade_count=9)


def test_poison_that_was_taken_in_is_taken_out_again(
    live_lake: EmbeddedLake, exchange: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "POISON_SECONDS", 0.2)
    with running(live_lake):
        _, second, third = exchange.trade(1, 2, 3)
        exchange.wait_for("bars_1m", trade_count=3, last_offset=third.position)
        noted = {second: "it cannot be computed with"}
        note_poison(live_lake.catalog, TRADES_TOPIC, noted, Layer.SPEED)
        exchange.wait_for("bars_1m", trade_count=2, last_offset=third.position)
        (fourth,) = exchange.trade(4)
        exchange.wait_for("bars_1m", trade_count=3)
        # A row that has nothing later than poison is void: the merged view has what is right.
        note_poison(live_lake.catalog, TRADES_TOPIC, {fourth: "nor with this"}, Layer.SPEED)
        exchange.wait_for_nothing("bars_1m")

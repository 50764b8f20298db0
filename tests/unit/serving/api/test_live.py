"""The live tier over HTTP: pages of its rows, the stream, and standing in for the engine."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from threading import Event
from time import monotonic
from typing import Any

import pytest
import requests
from calling import client_of, eventually
from faulty import FaultyEngine
from running import running
from served_rows import as_told, bar_of, row_of
from starlette.testclient import TestClient
from told import ToldStore

from lakehouse.settings import Settings
from serving.api import live as live_tier
from serving.api.app import create_app
from serving.api.connections import allowed_connections
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.api.stream import MOST_READERS_OF_A_KEY
from serving.engine import QueryError
from serving.engines import Engine
from serving.live.relations import LiveRow

pytestmark = pytest.mark.serving

READERS = 1_000


@pytest.fixture
def live(settings: Settings) -> ToldStore:
    live = ToldStore(settings)
    symbols = ("BTCUSDT", "ETHUSDT")
    live.tell("bars_1m", [as_told(bar_of(m, 200 + m, s)) for s in symbols for m in (3, 4)])
    live.tell("positions", [as_told(row_of("gold.positions", last_offset=7, fill_count=1))])
    live.tell_progress({0: 204, 1: 9})
    return live


@pytest.fixture
def faulty(sql: Engine) -> FaultyEngine:
    return FaultyEngine(sql)


@pytest.fixture
def caller(
    settings: Settings, faulty: FaultyEngine, keys: ApiKeys, everything: str, live: ToldStore
) -> Iterator[TestClient]:
    api = create_app(settings, Gate(faulty, at_once=2), keys, live)
    with client_of(api, everything) as caller:
        yield caller


@pytest.fixture
def address(settings: Settings, sql: Engine, keys: ApiKeys, live: ToldStore) -> Iterator[str]:
    with running(create_app(settings, Gate(sql, at_once=2), keys, live)) as address:
        yield address


def test_live_rows_are_pages_like_others(caller: TestClient) -> None:
    asked: dict[str, Any] = {"tier": "live", "limit": 3}
    first = caller.get("/v1/bars", params=asked).json()
    second = caller.get("/v1/bars", params=asked | {"cursor": first["next"]}).json()
    rows = first["data"] + second["data"]
    assert [(row["symbol"], row["last_offset"]) for row in rows] == [
        ("BTCUSDT", 203),
        ("BTCUSDT", 204),
        ("ETHUSDT", 203),
        ("ETHUSDT", 204),
    ]
    assert rows[1]["close"] == "304.00000000"
    assert {row["status"] for row in rows} == {"PROVISIONAL"}
    assert second["next"] is None
    meta = second["meta"]
    assert (meta["tier"], meta["offsets"]) == ("live", {"0": 204, "1": 9})
    assert 0 <= meta["freshness_seconds"] < 30


def test_live_rows_are_filtered_like_others(caller: TestClient) -> None:
    def minutes(**asked: str) -> list[int]:
        answer = caller.get("/v1/bars", params={"tier": "live", "symbol": "BTCUSDT"} | asked)
        return [row["last_offset"] - 200 for row in answer.json()["data"]]

    assert minutes() == [3, 4]
    assert minutes(start="2024-08-08T12:04:00Z") == [4]
    assert minutes(end="2024-08-08T12:04:00Z") == [3]
    assert minutes(venue="elsewhere") == []


def test_live_positions_are_of_the_customer_alone(caller: TestClient) -> None:
    mine = caller.get("/v1/positions/C-1", params={"tier": "live"}).json()["data"]
    assert [(row["last_offset"], row["mark_price"]) for row in mine] == [(7, None)]
    for other in ("C-", "C-11"):
        assert caller.get(f"/v1/positions/{other}?tier=live").json()["data"] == []


@pytest.mark.parametrize("clock_ahead", [-1000.0, 0.0, 1000.0])
def test_an_event_that_waits_makes_live_rows_old_and_turns_nothing_off(
    caller: TestClient, live: ToldStore, clock_ahead: float
) -> None:
    age = 10 * live_tier.STALE_SECONDS
    live.tell_progress({0: 204}, age_seconds=age, clock_ahead=clock_ahead)
    answer = caller.get("/v1/bars", params={"tier": "live"})
    assert answer.status_code == 200
    assert age <= answer.json()["meta"]["freshness_seconds"] < age + 30


@pytest.mark.parametrize("tier", ["live", "merged"])
def test_the_loop_goes_on_while_live_rows_are_looked_through(
    address: str, everything: str, live: ToldStore, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, held, newest = Event(), Event(), live.newest

    def slow_rows(*asked: Any, **how: Any) -> list[LiveRow]:
        begun.set()
        assert held.wait(20)
        return newest(*asked, **how)

    monkeypatch.setattr(live, "newest", slow_rows)
    ask = partial(requests.get, headers={"Authorization": f"Bearer {everything}"}, timeout=20)
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(ask, f"{address}/v1/bars?tier={tier}")
        try:
            assert begun.wait(20)
            assert requests.get(f"{address}/health/live", timeout=5).status_code == 200
            assert not answer.done()
        finally:
            held.set()
        assert answer.result().status_code == 200


def test_rows_that_are_not_on_the_page_cost_next_to_nothing(
    caller: TestClient, live: ToldStore
) -> None:
    # None of these can be read as numbers: who tries fails.
    unread = [as_told(bar_of(m, 300, "ZZZ")) | {"close": "?"} for m in range(5)]
    live.tell("bars_1m", unread)
    for asked in ({"symbol": "BTCUSDT"}, {"limit": "4"}):
        assert caller.get("/v1/bars", params={"tier": "live"} | asked).status_code == 200


def test_a_live_tier_that_has_fallen_silent_is_away(
    caller: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_tier, "STALE_SECONDS", 0.0)
    problem = caller.get("/v1/bars", params={"tier": "live"})
    assert (problem.status_code, problem.headers["retry-after"]) == (503, "5")
    assert caller.get("/v1/stream").json()["type"] == "/problems/no-live-tier"


def test_without_the_engine_live_rows_stand_in(caller: TestClient, faulty: FaultyEngine) -> None:
    def fail() -> None:
        raise QueryError("the server is gone")

    faulty.fault = fail
    answer = caller.get("/v1/bars", params={"symbol": "BTCUSDT"})
    assert answer.status_code == 200
    assert [row["last_offset"] for row in answer.json()["data"]] == [203, 204]
    assert answer.json()["meta"]["tier"] == "live"
    assert "the live tier holds" in answer.headers["x-degraded"]
    for elsewhere in (
        {"tier": "reconciled"},
        {"interval": "1h"},
        {"as_of": "2024-08-08T12:00:00Z"},
    ):
        assert caller.get("/v1/bars", params=elsewhere).status_code == 503


class Reader:
    """Reads the stream of an address until it is closed."""

    def __init__(self, address: str, key: str, **asked: Any) -> None:
        headers = {"Authorization": f"Bearer {key}"} | asked.pop("headers", {})
        self.answer = requests.get(
            f"{address}/v1/stream", params=asked, headers=headers, stream=True, timeout=20
        )
        assert self.answer.status_code == 200, self.answer.text
        assert self.answer.headers["content-type"].startswith("text/event-stream")

    def events(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        event: dict[str, str] = {}
        for line in self.answer.iter_lines(decode_unicode=True):
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
            elif "data" in event:
                yield event["event"], event["id"], json.loads(event["data"])
                event = {}

    def take(self, count: int) -> list[tuple[str, str, dict[str, Any]]]:
        found = list(islice(self.events(), count))
        self.answer.close()
        return found


def test_the_stream_tells_what_is_held_and_then_the_news(
    address: str, everything: str, live: ToldStore
) -> None:
    reader = Reader(address, everything, relation=["bars_1m", "positions"], symbol="BTCUSDT")
    events = reader.events()
    held = [next(events) for _ in range(3)]
    assert [(name, row["last_offset"]) for name, _, row in held] == [
        ("bars_1m", 203),
        ("bars_1m", 204),
        ("positions", 7),
    ]
    assert held[1][2]["close"] == "304"
    live.tell("bars_1m", [as_told(bar_of(4, 300, s)) for s in ("ETHUSDT", "BTCUSDT")])
    name, at, row = next(events)
    assert (name, row["symbol"], row["last_offset"]) == ("bars_1m", "BTCUSDT", 300)
    reader.answer.close()
    live.tell("bars_1m", [as_told(bar_of(5, 301))])
    again = Reader(
        address, everything, relation="bars_1m", symbol="BTCUSDT", headers={"Last-Event-ID": at}
    )
    assert [row["last_offset"] for _, _, row in again.take(1)] == [301]
    # As if the topic had been made anew: the place is none of it.
    beyond = {"Last-Event-ID": "bars_1m=1000000"}
    anew = Reader(address, everything, relation="bars_1m", symbol="BTCUSDT", headers=beyond)
    assert [row["last_offset"] for _, _, row in anew.take(3)] == [203, 300, 301]


def test_who_reads_late_is_told_the_newest_only(
    address: str, everything: str, live: ToldStore
) -> None:
    reader = Reader(address, everything, symbol="BTCUSDT")
    events = reader.events()
    assert [next(events)[2]["last_offset"] for _ in range(2)] == [203, 204]
    for offset in range(1000, 3000):
        live.tell("bars_1m", [as_told(bar_of(4, offset))])
    told = []
    for _, _, row in events:
        told.append(row["last_offset"])
        if told[-1] == 2999:
            break
    reader.answer.close()
    assert told == sorted(told)
    assert len(told) < 1000


def test_a_thousand_read_at_the_same_time(
    address: str, keys: ApiKeys, live: ToldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = "lakehouse_api_stream_clients"
    assert allowed_connections() > 2 * READERS  # both ends of each are here
    by_turns = cycle([keys.create(f"reader {n}") for n in range(READERS // MOST_READERS_OF_A_KEY)])
    # A busy machine takes its time to connect.
    monkeypatch.setattr(live_tier, "STALE_SECONDS", 600.0)

    async def told_to_all() -> float:
        opened = [await _opened(address, next(by_turns)) for _ in range(READERS)]
        readers = [reader for reader, _ in opened]
        # Held rows come first: whoever has one is subscribed.
        await asyncio.gather(*(reader.readuntil(b'"last_offset":204') for reader in readers))
        page = await asyncio.to_thread(requests.get, f"{address}/metrics", timeout=20)
        assert f"{clients} {READERS:.1f}" in page.text
        began = monotonic()
        await asyncio.to_thread(live.tell, "bars_1m", [as_told(bar_of(4, 5000))])
        await asyncio.gather(*(reader.readuntil(b'"last_offset":5000') for reader in readers))
        seconds = monotonic() - began
        for _, writer in opened:
            writer.close()
        return seconds

    seconds = asyncio.run(asyncio.wait_for(told_to_all(), 120))
    print(f"{READERS} readers were told of a row within {seconds:.2f} s")
    assert seconds < 10  # of a machine with other work; a second or two of one without
    eventually(lambda: f"{clients} 0.0" in requests.get(f"{address}/metrics", timeout=20).text)


async def _opened(address: str, key: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the stream on a connection of its own, past the answer's headers."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /v1/stream?symbol=BTCUSDT HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {key}\r\n\r\n".encode()
    )
    status = await reader.readline()
    assert status.split()[1] == b"200", status
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer

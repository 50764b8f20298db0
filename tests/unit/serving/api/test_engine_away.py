"""The engine is slow, busy, broken, gone and back: what callers get meanwhile."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
from calling import client_of, eventually
from faulty import FaultyEngine
from served_rows import Lake, bar_of
from starlette.testclient import TestClient

from lakehouse.settings import Settings
from serving.api import gate
from serving.api.app import create_app
from serving.api.deadlines import Deadline, DeadlineExceededError
from serving.api.gate import FAILURES_TO_OPEN, EngineDownError, Gate
from serving.api.keys import ApiKeys
from serving.engine import QueryError, TimeIsUpError
from serving.engines import Engine

pytestmark = pytest.mark.serving

AT_ONCE, WAITING, OPEN_SECONDS = 2, 3, 0.5
LONG = "SELECT count(*) FROM range(100000000000) a WHERE a.range % 7 = hash(a.range) % 3"


@pytest.fixture
def faulty(sql: Engine) -> FaultyEngine:
    return FaultyEngine(sql)


@pytest.fixture
def caller(
    settings: Settings, faulty: FaultyEngine, keys: ApiKeys, everything: str
) -> Iterator[TestClient]:
    guarded = Gate(faulty, at_once=AT_ONCE, most_waiting=WAITING, open_seconds=OPEN_SECONDS)
    with client_of(create_app(settings, guarded, keys), everything) as caller:
        yield caller


def ask(caller: TestClient, symbol: str = "BTCUSDT", **headers: str) -> tuple[int, Any]:
    answer = caller.get("/v1/bars", params={"symbol": symbol}, headers=headers)
    return answer.status_code, answer.json()


def broken() -> None:
    raise QueryError("the disk is gone")


def test_duckdb_is_interrupted_when_the_time_is_over(sql: Engine) -> None:
    began = monotonic()
    with pytest.raises(TimeIsUpError, match=r"ended after 0\.200 s"):
        sql.query(LONG, timeout_seconds=0.2)
    assert monotonic() - began < 3
    assert sql.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_deadline_is_carried_to_the_engine(caller: TestClient, faulty: FaultyEngine) -> None:
    faulty.held.clear()
    began = monotonic()
    status, problem = ask(caller, **{"X-Deadline-Ms": "150"})
    seconds = monotonic() - began
    print(f"of a deadline of 150 ms and an engine that is busy: {status} after {seconds:.2f} s")
    assert (status, problem["type"]) == (504, "/problems/deadline-exceeded")
    assert seconds < 3
    # Clients in a hurry say nothing about the engine.
    for _ in range(FAILURES_TO_OPEN):
        assert ask(caller, **{"X-Deadline-Ms": "1"})[0] == 504
    faulty.held.set()
    assert ask(caller)[0] == 200


def test_a_deadline_that_has_passed_asks_nobody(caller: TestClient, faulty: FaultyEngine) -> None:
    began = monotonic()
    assert ask(caller, **{"X-Deadline-Ms": "0"})[0] == 504
    milliseconds = (monotonic() - began) * 1000
    print(f"of a deadline that has passed: 504 after {milliseconds:.0f} ms, queries {faulty.asked}")
    assert faulty.asked == 0
    for nonsense in ("soon", "-1", "1.5", "9" * 30):
        assert ask(caller, **{"X-Deadline-Ms": nonsense})[0] == 422


@pytest.fixture
def hung(faulty: FaultyEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """The engine hears of no deadline, until the event is set."""
    monkeypatch.setattr(gate, "GRACE_SECONDS", 0.05)
    over = Event()
    faulty.fault = lambda: over.wait(60)
    yield over
    over.set()


def test_what_outlives_its_deadline_keeps_its_seat(
    caller: TestClient, faulty: FaultyEngine, hung: Event
) -> None:
    for number in range(AT_ONCE + WAITING):
        assert ask(caller, f"S{number}", **{"X-Deadline-Ms": "100"})[0] == 504
    assert faulty.at_once == AT_ONCE
    hung.set()
    eventually(lambda: ask(caller)[0] == 200)
    assert faulty.at_once == AT_ONCE


def test_an_engine_that_hangs_is_down(faulty: FaultyEngine, hung: Event) -> None:
    guarded = Gate(faulty, at_once=1, open_seconds=OPEN_SECONDS)

    def asked(engine: Engine, _: Deadline) -> int:
        return engine.query("SELECT 1 AS n").num_rows

    async def ask_within(seconds: float) -> int:
        return await guarded.run(asked, Deadline.after(seconds))

    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(DeadlineExceededError):
            asyncio.run(ask_within(0.05))
    with pytest.raises(EngineDownError, match="has failed 5 times in a row"):
        asyncio.run(ask_within(60))
    with pytest.raises(EngineDownError, match="past its deadline"):
        asyncio.run(guarded.check())
    hung.set()

    def is_back() -> bool:
        with suppress(EngineDownError, DeadlineExceededError):
            return asyncio.run(ask_within(60)) == 1
        return False

    eventually(is_back)
    asyncio.run(guarded.check())


def test_others_are_kept_from_a_busy_engine(caller: TestClient, faulty: FaultyEngine) -> None:
    faulty.held.clear()
    with ThreadPoolExecutor(10) as pool:
        asking = [pool.submit(ask, caller, f"S{number}") for number in range(AT_ONCE + WAITING)]
        eventually(lambda: faulty.asked == AT_ONCE)

        def is_full() -> bool:
            status, problem = ask(caller, "LATE", **{"X-Deadline-Ms": "50"})
            assert status in (503, 504)
            return bool(problem["type"] == "/problems/overloaded")

        eventually(is_full)
        answer = caller.get("/v1/bars", params={"symbol": "LATE"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert caller.get("/health/ready").status_code == 200  # at work is not away
        faulty.held.set()
        assert {one.result()[0] for one in asking} == {200}
    assert faulty.at_once == AT_ONCE


def test_a_broken_engine_is_left_alone_and_asked_again(
    caller: TestClient, faulty: FaultyEngine
) -> None:
    faulty.fault = broken
    for _ in range(FAILURES_TO_OPEN):
        status, problem = ask(caller)
        assert (status, problem["type"]) == (503, "/problems/unavailable")
        assert "the disk is gone" not in problem["detail"]  # for the log alone
    asked, began = faulty.asked, monotonic()
    answer = caller.get("/v1/bars")
    refused_seconds = monotonic() - began
    assert "has failed 5 times in a row" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert faulty.asked == asked
    faulty.fault, back_at = lambda: None, monotonic()
    eventually(lambda: ask(caller)[0] == 200)
    print(
        f"of a broken engine: 503 after {refused_seconds * 1000:.0f} ms; answers again "
        f"{monotonic() - back_at:.2f} s after it is back (it is left alone for {OPEN_SECONDS} s)"
    )


def test_kept_answers_stand_in_and_say_so(caller: TestClient, faulty: FaultyEngine) -> None:
    _, fresh = ask(caller)
    faulty.fault = broken
    eventually(lambda: ask(caller)[1]["meta"]["degraded"] is not None)
    answer = caller.get("/v1/bars", params={"symbol": "BTCUSDT"})
    assert answer.json()["data"] == fresh["data"]
    assert "the API's log tells why" in answer.headers["x-degraded"]
    assert int(answer.headers["age"]) >= 1
    meta = answer.json()["meta"]
    assert meta["seconds_since_commit"] > fresh["meta"]["seconds_since_commit"]
    assert ask(caller, "ETHUSDT")[0] == 503  # of what nobody has asked for there is none
    faulty.fault = lambda: None
    eventually(lambda: ask(caller)[1]["meta"]["degraded"] is None)


def test_a_lake_that_is_gone_and_back(caller: TestClient, settings: Settings, lake: Lake) -> None:
    lake.append("gold.bars_1m", [bar_of(0, 90, "GONEUSDT")])
    warehouse = Path(settings.home / "warehouse")
    away = warehouse.rename(warehouse.with_name("away"))
    assert ask(caller, "GONEUSDT")[0] == 503
    away.rename(warehouse)
    eventually(lambda: ask(caller, "GONEUSDT")[0] == 200)
    assert [row["last_offset"] for row in ask(caller, "GONEUSDT")[1]["data"]] == [90]

"""What programs and people ask of the stack: the API over TLS, its live rows, a correction."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
from chaos.oracles import Logs
from embedded_lake import DEADLINE_SECONDS
from stack.monitoring import Prometheus
from stack.running import RunningStack

from lakehouse import operations
from lakehouse.components import READY
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.resilience import retrying
from lakehouse.stack import api
from serving.api.keys import ApiKeys
from serving.client import Client

# Alone it sends all streams first.
pytestmark = [pytest.mark.stack, pytest.mark.serving, pytest.mark.timeout(900)]

JOBS = {"live", "api", "commands"}
# The tier says once a second how far it has read; two cores have the whole stack beside it.
FRESH_SECONDS = 10.0
SECONDS = 30.0
CORRECTED = Decimal("2.5")


@pytest.fixture(scope="module")
def address(stack: RunningStack) -> str:
    return f"https://{stack.installation.address(api.NAME)}"


@pytest.fixture(scope="module")
def authority(stack: RunningStack) -> str:
    return str(stack.installation.authority.file)


@pytest.fixture(scope="module")
def key(stack: RunningStack) -> Iterator[str]:
    """An operator's key of the market, made as `lakehouse api keys create` makes it."""
    keys = ApiKeys.of(stack.role("serving"))
    made = keys.create("test_serving", role="operator", datasets=["market"])
    yield made
    found = keys.find(made)
    assert found is not None
    keys.revoke(found.id)
    keys.close()


@pytest.fixture
def client(
    address: str, authority: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority)
    with Client(address, key) as client:
        yield client


@pytest.fixture
def session(authority: str, key: str) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify = authority
        session.headers["Authorization"] = f"Bearer {key}"
        yield session


@pytest.fixture(scope="module")
def trade(stack: RunningStack) -> dict[str, Any]:
    """A trade of a moment ago, the first of its instrument."""
    return stack.trade(f"SERVED_{time.time_ns()}")


def test_what_serves_is_healthy(stack: RunningStack) -> None:
    health = {process.name: process.health for process in operations.status(stack.settings)}
    assert {name: health[name] for name in JOBS} == dict.fromkeys(JOBS, READY)


def test_it_speaks_tls_only_and_asks_for_a_key(address: str, authority: str) -> None:
    asked = f"{address}/v1/bars"
    assert requests.get(asked, verify=authority, timeout=SECONDS).status_code == 401
    with pytest.raises(requests.ConnectionError):
        requests.get(asked.replace("https", "http"), timeout=SECONDS)


@pytest.mark.parametrize("resource", ["bars", "spreads"])
def test_merged_rows_are_those_of_the_view(
    stack: RunningStack, streams: Logs, client: Client, resource: str
) -> None:
    @retrying(on=AssertionError, budget_seconds=DEADLINE_SECONDS)
    def check() -> None:  # what came last may just be on its way
        answer = client.read(resource)
        columns = ", ".join(answer.table.column_names)
        view = f"serving.{resource}_1m"
        shown = stack.rows(f"SELECT {columns} FROM {view} ORDER BY venue, symbol, window_start")
        assert answer.table.to_pylist() == shown
        assert answer.degraded is None
        assert sum(answer.status.values()) == len(shown) > 0

    check()


def test_live_rows_say_how_fresh_they_are_and_the_views_come_to_the_same(
    stack: RunningStack, client: Client, trade: dict[str, Any]
) -> None:
    def rows(tier: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.read(
            "bars", symbol=trade["symbol"], tier=tier
        ).table.to_pylist()
        return found

    stack.wait_until(lambda: bool(rows("live")), "the live tier tells of the trade")
    (bar,) = rows("live")
    assert (bar["close"], bar["trade_count"]) == (trade["price"], 1)
    answer = client.bars(symbol=trade["symbol"], tier="live")
    assert answer.freshness_seconds is not None
    assert answer.freshness_seconds < FRESH_SECONDS
    stack.wait_until(lambda: rows("merged") == [bar], "the merged view has the live tier's bar")


def test_a_correction_reaches_all_tiers_and_the_record(
    stack: RunningStack,
    client: Client,
    session: requests.Session,
    address: str,
    trade: dict[str, Any],
) -> None:
    body = {
        "kind": "correction",
        **{name: trade[name] for name in ("venue", "symbol", "trade_id")},
        "event_time": trade["event_time"].isoformat(),
        "price": str(CORRECTED),
        "quantity": str(trade["quantity"]),
    }
    accepted = session.post(
        f"{address}/v1/commands/trade-corrections",
        json=body,
        headers={"Idempotency-Key": trade["symbol"]},
        timeout=SECONDS,
    )
    assert accepted.status_code == 202, accepted.text
    status_at = address + accepted.headers["Location"]

    def is_reflected() -> bool:
        return bool(session.get(status_at, timeout=SECONDS).json()["status"] == "reflected")

    stack.wait_until(is_reflected, "the correction is in the merged view")
    mine = f"symbol = '{trade['symbol']}'"
    assert stack.rows(f"SELECT price FROM serving.trades WHERE {mine}") == [{"price": CORRECTED}]

    def is_live() -> bool:
        bars = client.bars(symbol=trade["symbol"], tier="live").table
        return bool(bars["close"].to_pylist() == [CORRECTED])

    stack.wait_until(is_live, "the live tier has taken it in")
    recorded = f"SELECT sent_topic FROM ops.commands WHERE command_id = '{accepted.json()['id']}'"
    told = [{"sent_topic": TRADES_TOPIC}]
    stack.wait_until(lambda: stack.rows(recorded) == told, "it is on record")


def test_prometheus_asks_them(stack: RunningStack) -> None:
    prometheus = Prometheus(f"http://{stack.installation.address('prometheus')}")
    for told in (
        "lakehouse_api_ready == 1",
        "lakehouse_commands_leads == 1",
        "lakehouse_live_rows_total > 0",
    ):
        stack.wait_until(lambda told=told: bool(prometheus.query(told)), told)  # type: ignore[misc]
    assert prometheus.jobs() >= JOBS

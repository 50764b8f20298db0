"""What programs and people ask of the stack: the API over TLS, its live rows, a correction."""

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import requests
from chaos.oracles import Logs
from embedded_lake import DEADLINE_SECONDS
from stack.monitoring import Prometheus
from stack.programs import SECONDS, Program
from stack.running import RunningStack
from trino.auth import BasicAuthentication
from trino.dbapi import connect

from lakehouse import operations
from lakehouse.components import READY
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.resilience import retrying
from lakehouse.settings import Settings
from serving.api.deadlines import HEADER as DEADLINE
from serving.api.gate import GRACE_SECONDS
from serving.api.paging import order_columns
from serving.api.relations import Resource
from serving.api.resources import RESOURCES
from serving.client import Client
from serving.engine import TimeIsUpError
from serving.trino_engine import TrinoEngine

# Alone it sends all streams first.
pytestmark = [pytest.mark.stack, pytest.mark.serving, pytest.mark.timeout(900)]

JOBS = {"live", "api", "commands"}
# The tier says once a second how far it has read; two cores have the whole stack beside it.
FRESH_SECONDS = 10.0
CORRECTED = Decimal("2.5")
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
# What other tests of the stack write.
OF_OTHERS = {"predictions", "reconciliations"}
TABLE_TIERS = [
    pytest.param(
        resource, interval, tier, id=" ".join(filter(None, (resource.name, interval, tier)))
    )
    for resource in RESOURCES
    for interval in resource.relations
    for tier in (*resource.tiers, *([] if resource.tiers else [""]))
    if tier != "live"
]


@pytest.fixture(scope="module")
def trade(stack: RunningStack) -> dict[str, Any]:
    """A trade of a moment ago, the first of its instrument."""
    return stack.trade(f"SERVED_{time.time_ns()}")


@pytest.fixture(scope="module")
def customer(stack: RunningStack, streams: Logs) -> str:
    """A client who holds something."""
    (row,) = stack.rows("SELECT min(customer_id) AS customer FROM serving.positions")
    return str(row["customer"])


@pytest.fixture(scope="module")
def serving(stack: RunningStack) -> Iterator[TrinoEngine]:
    """SQL as the API may ask it."""
    engine = TrinoEngine(stack.role("serving"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def moment(confirmed: tuple[str, ...]) -> datetime:
    """A time gone by, after batch has confirmed something of every stream."""
    return datetime.now(UTC)


def test_what_serves_is_healthy(stack: RunningStack) -> None:
    health = {process.name: process.health for process in operations.status(stack.settings)}
    assert {name: health[name] for name in JOBS} == dict.fromkeys(JOBS, READY)


def test_it_speaks_tls_only_and_asks_for_a_key(program: Program) -> None:
    asked = f"{program.address}/v1/bars"
    assert requests.get(asked, verify=program.authority, timeout=SECONDS).status_code == 401
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


@pytest.mark.parametrize(("resource", "interval", "tier"), TABLE_TIERS)
def test_each_tier_of_each_resource_has_as_many_rows_as_sql_finds(
    serving: TrinoEngine,
    client: Client,
    *,
    customer: str,
    moment: datetime,
    resource: Resource,
    interval: str,
    tier: str,
) -> None:
    relation = resource.relations[interval]
    path = resource.path.removeprefix("/v1/").format(customer=customer)
    asked = {name: said for name, said in (("interval", interval), ("tier", tier)) if said}
    wanted = f"customer_id = '{customer}'" if resource.owner else "true"
    if resource.name == "trades":  # of all instruments they are many pages
        asked["symbol"], wanted = "BTCUSD_PERP", "symbol = 'BTCUSD_PERP'"
    key = ", ".join(relation.counted or order_columns(relation))
    keys = f"SELECT count(*) AS n FROM (SELECT DISTINCT {key} FROM {relation.name} WHERE {wanted})"

    @retrying(on=AssertionError, budget_seconds=DEADLINE_SECONDS)
    def check(**then: Any) -> None:  # of the present, what came last may just be on its way
        answer = client.read(path, **asked, **then)
        (found,) = serving.query(keys, batch_only=tier == "reconciled", **then).to_pylist()
        assert (answer.table.num_rows, answer.tier) == (found["n"], tier or None)
        assert found["n"] > 0 or resource.name in OF_OTHERS
        assert answer.degraded is None
        if resource.tiers:
            known = {"RECONCILED"} if tier == "reconciled" else {"RECONCILED", "PROVISIONAL"}
            assert answer.status.keys() <= known

    check()
    check(as_of=moment)


def test_csv_says_what_arrow_says(client: Client, program: Program, streams: Logs) -> None:
    asked = {"interval": "1h", "symbol": "BTCUSD_PERP"}
    rows = client.read("bars", **asked).table
    told = program.get("/v1/bars", params=asked, headers={"Accept": "text/csv"})
    assert told.headers["Content-Type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(told.text)))
    assert list(lines[0]) == rows.column_names
    assert [Decimal(line["close"]) for line in lines] == rows["close"].to_pylist()


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


def test_the_stream_tells_of_the_trade(program: Program, trade: dict[str, Any]) -> None:
    asked = {"relation": "bars_1m", "symbol": trade["symbol"]}
    with program.get("/v1/stream", params=asked, stream=True) as told:
        assert told.headers["Content-Type"].startswith("text/event-stream")
        lines = (str(line) for line in told.iter_lines(decode_unicode=True))
        row = json.loads(next(line for line in lines if line.startswith("data:"))[len("data:") :])
    assert (row["symbol"], Decimal(row["close"])) == (trade["symbol"], trade["price"])


def test_a_correction_reaches_all_tiers_and_the_record_with_its_trace(
    stack: RunningStack, client: Client, program: Program, trade: dict[str, Any]
) -> None:
    body = {
        "kind": "correction",
        **{name: trade[name] for name in ("venue", "symbol", "trade_id")},
        "event_time": trade["event_time"].isoformat(),
        "price": str(CORRECTED),
        "quantity": str(trade["quantity"]),
    }
    headers = {"Idempotency-Key": trade["symbol"], **TRACE}
    accepted = program.post("/v1/commands/trade-corrections", json=body, headers=headers)
    assert accepted.status_code == 202, accepted.text

    def standing() -> dict[str, Any]:
        return dict(program.get(accepted.headers["Location"]).json())

    stack.wait_until(
        lambda: standing()["status"] == "reflected", "the correction is in the merged view"
    )
    mine = f"symbol = '{trade['symbol']}'"
    assert stack.rows(f"SELECT price FROM serving.trades WHERE {mine}") == [{"price": CORRECTED}]

    def is_live() -> bool:
        bars = client.bars(symbol=trade["symbol"], tier="live").table
        return bool(bars["close"].to_pylist() == [CORRECTED])

    stack.wait_until(is_live, "the live tier has taken it in")
    place = standing()["log"]
    landed = (
        "SELECT from_utf8(headers['traceparent']) AS parent FROM bronze.market_trades WHERE "
        f"kafka_partition = {place['partition']} AND kafka_offset = {place['offset']}"
    )
    recorded = (
        "SELECT sent_topic, trace_parent AS parent FROM ops.commands "
        f"WHERE command_id = '{accepted.json()['id']}'"
    )
    for query in (landed, recorded):
        stack.wait_until(lambda query=query: bool(stack.rows(query)), query)  # type: ignore[misc]
    (of_event,), (of_command,) = stack.rows(landed), stack.rows(recorded)
    assert of_command["sent_topic"] == TRADES_TOPIC
    assert [one["parent"].split("-")[1] for one in (of_event, of_command)] == [TRACE_ID] * 2


# Of infra/trino/resource-groups.json: queries of the API's user that run at the same time.
SEATS = 8
# A hundred million rows; nobody fetches more than the first, so that it waits and costs nothing.
UNFETCHED = "SELECT x + y FROM UNNEST(sequence(1, 10000)) AS a (x) CROSS JOIN " + (
    "UNNEST(sequence(1, 10000)) AS b (y)"
)
# Minutes of a core.
HEAVY = (
    "SELECT count(*) FROM UNNEST(sequence(1, 10000)) AS a (x), UNNEST(sequence(1, 10000)) AS b (y),"
    " UNNEST(sequence(1, 10000)) AS c (z) WHERE (x * y + z) % 7 = {marked}"
)


@contextmanager
def seats_taken(serving: Settings) -> Iterator[None]:
    """Let Trino run all that it runs at once for the API's user."""
    user, password = serving.trino_username, serving.trino_password
    assert user is not None
    assert password is not None
    session = requests.Session()
    session.trust_env, session.verify = False, str(serving.ca_file)
    login = BasicAuthentication(user, password.get_secret_value())
    connection = connect(host=serving.trino, auth=login, http_session=session)
    cursors = [connection.cursor() for _ in range(SEATS)]
    try:
        for cursor in cursors:
            cursor.execute(UNFETCHED)
        yield
    finally:
        for cursor in cursors:
            cursor.cancel()
        session.close()


def ended_as(stack: RunningStack, marked: str) -> set[tuple[str, str | None]]:
    """Return how Trino says that the API user's queries with a mark have ended, or stand."""
    rows = stack.rows(
        "SELECT state, error_code FROM system.runtime.queries "
        f"WHERE \"user\" = 'serving' AND query LIKE '%{marked}%'"
    )
    return {(row["state"], row["error_code"]) for row in rows}


CANCELLED = {("FAILED", "USER_CANCELED")}
ENDED_SECONDS = 10.0


def test_a_query_at_work_is_ended_in_trino_when_its_time_is_over(
    stack: RunningStack, serving: TrinoEngine
) -> None:
    """No question of the API takes that long here, so the engine is asked as the API asks it."""
    marked = f"-{time.time_ns()}"
    with pytest.raises(TimeIsUpError):
        serving.query(HEAVY.format(marked=marked), timeout_seconds=2.0)
    stack.wait_until(
        lambda: ended_as(stack, marked) == CANCELLED,
        "Trino has ended it",
        deadline_seconds=ENDED_SECONDS,
    )


def test_a_request_whose_time_is_over_is_ended_in_trino_too(
    stack: RunningStack, program: Program
) -> None:
    """Its query waits there for a seat."""
    symbol = f"LATE_{time.time_ns()}"
    with seats_taken(stack.role("serving")):
        began = time.monotonic()
        answer = program.get("/v1/bars", params={"symbol": symbol}, headers={DEADLINE: "1500"})
        took = time.monotonic() - began
        assert (answer.status_code, answer.json()["type"]) == (504, "/problems/deadline-exceeded")
        assert 1.5 <= took < 1.5 + 2 * GRACE_SECONDS
        stack.wait_until(
            lambda: ended_as(stack, symbol) == CANCELLED,
            "Trino has ended it",
            deadline_seconds=ENDED_SECONDS,
        )
    assert program.get("/v1/bars", params={"symbol": symbol}).json()["data"] == []


def test_prometheus_asks_them(stack: RunningStack) -> None:
    prometheus = Prometheus(f"http://{stack.installation.address('prometheus')}")
    for told in (
        "lakehouse_api_ready == 1",
        "lakehouse_commands_leads == 1",
        "lakehouse_live_rows_total > 0",
    ):
        stack.wait_until(lambda told=told: bool(prometheus.query(told)), told)  # type: ignore[misc]
    assert prometheus.jobs() >= JOBS

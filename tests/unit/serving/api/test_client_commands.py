"""The Python client's commands and its question for the lag, against the running API."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI, Request, Response
from running import running
from sqlalchemy import select

from lakehouse.settings import Settings
from serving.api import lag
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.client import Accepted, ApiError, Client, Lag
from serving.client_session import ClientSession
from serving.commands.tables import COMMANDS, OUTBOX, command_tables
from serving.engines import Engine
from serving.exporter import families
from serving.exporter.families import Reading

pytestmark = pytest.mark.serving

TRADE: Any = {
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "trade_id": 7,
    "event_time": datetime(2024, 8, 8, 23, 59, 30, tzinfo=UTC),
}
SENT_TRADE = TRADE | {"event_time": "2024-08-08T23:59:30Z"}
NEW: Any = {"price": Decimal("61699.20"), "quantity": Decimal("1E+2")}


@pytest.fixture(scope="module")
def address(api: FastAPI) -> Iterator[str]:
    with running(api) as address:
        yield address


@pytest.fixture
def remote(address: str, everything: str) -> Iterator[Client]:
    with Client(address, everything) as remote:
        yield remote


@pytest.mark.parametrize(
    ("kind", "command", "sent"),
    [
        (
            "trade-correction",
            lambda remote: remote.correct_trade(**NEW, **TRADE),
            SENT_TRADE
            | {"kind": "correction", "quantity_unit": "BASE"}
            | {"price": "61699.20", "quantity": "100"},
        ),
        (
            "trade-correction",
            lambda remote: remote.correct_trade(**NEW, contract_size=Decimal(10), **TRADE),
            SENT_TRADE
            | {"kind": "correction", "quantity_unit": "CONTRACT", "contract_size": "10"}
            | {"price": "61699.20", "quantity": "100"},
        ),
        (
            "trade-correction",
            lambda remote: remote.cancel_trade(**TRADE),
            SENT_TRADE | {"kind": "cancellation", "quantity_unit": "BASE"},
        ),
        ("erasure", lambda remote: remote.erase("C-1"), {"customer_id": "C-1"}),
    ],
    ids=["correction", "correction of contracts", "cancellation", "erasure"],
)
def test_a_command_is_taken_in_and_asked_after(
    remote: Client, kind: str, command: Callable[[Client], Accepted], sent: Mapping[str, Any]
) -> None:
    accepted = command(remote)
    assert accepted.kind == kind
    assert timedelta(0) <= datetime.now(UTC) - accepted.accepted_at < timedelta(minutes=1)
    standing = remote.command(accepted.id)
    assert (standing.id, standing.kind, standing.accepted_at) == (
        accepted.id,
        kind,
        accepted.accepted_at,
    )
    assert (standing.status, standing.is_final, standing.detail) == ("accepted", False, None)
    assert (standing.log, standing.steps) == (None, [])
    assert standing.request == sent


def test_a_key_of_the_callers_own_stands_for_one_request(remote: Client) -> None:
    mine = str(uuid4())
    first, again = (remote.erase("C-1", idempotency_key=mine) for _ in range(2))
    assert first == again
    assert remote.erase("C-1") != first
    with pytest.raises(ApiError, match="422 The Idempotency-Key stands for another request"):
        remote.cancel_trade(**TRADE, idempotency_key=mine)


def test_a_command_that_is_refused_or_unknown_is_an_error(
    remote: Client, address: str, keys: ApiKeys
) -> None:
    with pytest.raises(ApiError, match=r"422 .*body\.price"):
        remote.correct_trade(price=Decimal(-1), quantity=Decimal(1), **TRADE)
    with pytest.raises(ApiError, match="404 There is no such command"):
        remote.command(str(uuid4()))
    with Client(address, keys.create("reader")) as reader, pytest.raises(ApiError, match="403"):
        reader.cancel_trade(**TRADE)


def test_an_answer_that_is_lost_leaves_one_command(
    settings: Settings, sql: Engine, keys: ApiKeys, everything: str
) -> None:
    app, asked = create_app(settings, Gate(sql, at_once=2), keys), []

    @app.middleware("http")
    async def lose_the_first(
        request: Request, handled: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        answer = await handled(request)
        asked.append((request.headers["Idempotency-Key"], answer.status_code))
        return Response(status_code=502) if len(asked) == 1 else answer

    before = commands_of(settings)
    with running(app) as address, Client(address, everything) as remote:
        accepted = remote.cancel_trade(**TRADE)
    (first, taken), (second, told) = asked
    assert (taken, told) == (202, 202)
    assert first == second
    assert commands_of(settings) - before == {(accepted.id, first)}


def commands_of(settings: Settings) -> set[tuple[str, str]]:
    """Id and idempotency key of each command that has a message."""
    tables = command_tables(settings, budget_seconds=5)
    joined = COMMANDS.join(OUTBOX, OUTBOX.c.command_id == COMMANDS.c.id)
    asked = select(COMMANDS.c.id, COMMANDS.c.idempotency_key).select_from(joined)
    rows = tables.in_transaction(lambda connection: connection.execute(asked).all())
    tables.close()
    return {(row.id, row.idempotency_key) for row in rows}


def test_lag_is_told_by_table(remote: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = Reading(families.TABLE_LAG, ("bronze.market_trades", "market.trades"), 7)
    since = Reading(families.FRESHNESS, ("bronze.market_trades",), 1.5)
    monkeypatch.setattr(lag, "landed", lambda _: [behind, since])  # there is no log here
    assert remote.lag() == [Lag("bronze.market_trades", "market.trades", 7, 1.5)]


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [(float("nan"), ValueError, "Out of range float"), ({1}, TypeError, "{1} cannot be sent")],
)
def test_what_json_cannot_spell_is_not_sent(
    value: object, error: type[Exception], told: str
) -> None:
    nowhere = ClientSession("http://127.0.0.1:9", "lh_x_y", deadline_seconds=1, tries=1)
    with pytest.raises(error, match=re.escape(told)):
        nowhere.post("/", {"rows": [{"value": value}]})

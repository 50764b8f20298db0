"""Commands over HTTP: who may ask, what is refused and why, and where to look afterwards."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import monotonic
from typing import Any

import pytest
from calling import client_of
from fastapi import FastAPI
from posted import BODIES, CORRECTION, CORRECTIONS, ERASURES, ask, keyed
from starlette.testclient import TestClient

from lakehouse.catalog_database import OwnTables
from lakehouse.settings import Settings
from serving.commands.tables import OUTBOX, command_tables

pytestmark = pytest.mark.serving

CLICKS = 8


@pytest.mark.parametrize("path", BODIES)
def test_a_command_is_taken_in_and_can_be_asked_after(client: TestClient, path: str) -> None:
    answer = ask(client, path)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["Location"] == told["status_at"] == f"/v1/commands/{told['id']}"
    status = client.get(told["status_at"]).json()
    assert (status["status"], status["is_final"], status["log"]) == ("accepted", False, None)
    assert status["kind"] == told["kind"]
    assert status["request"].items() >= BODIES[path].items()


def test_the_same_request_again_has_the_same_answer(client: TestClient) -> None:
    headers = keyed()
    first = client.post(CORRECTIONS, json=CORRECTION, headers=headers)
    began = monotonic()
    second = client.post(CORRECTIONS, json=CORRECTION, headers=headers)
    print(f"the same key again: the same command after {(monotonic() - began) * 1000:.0f} ms")
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    quoted = {"Idempotency-Key": f'"{headers["Idempotency-Key"]}"'}
    assert client.post(CORRECTIONS, json=CORRECTION, headers=quoted).json() == first.json()


@pytest.mark.parametrize(
    ("path", "body"), [(CORRECTIONS, CORRECTION | {"price": "1"}), (ERASURES, BODIES[ERASURES])]
)
def test_a_key_does_not_stand_for_two_requests(
    client: TestClient, path: str, body: dict[str, Any]
) -> None:
    headers = keyed()
    client.post(CORRECTIONS, json=CORRECTION, headers=headers)
    problem = client.post(path, json=body, headers=headers)
    assert (problem.status_code, problem.json()["type"]) == (
        422,
        "/problems/idempotency-key-reused",
    )


def test_a_double_click_is_one_command(api: FastAPI, everything: str) -> None:
    headers, together = keyed(), Barrier(CLICKS)

    def click(_: int) -> Any:
        client = client_of(api, everything)
        together.wait()
        return client.post(CORRECTIONS, json=CORRECTION, headers=headers)

    began = monotonic()
    with ThreadPoolExecutor(CLICKS) as clients:
        answers = list(clients.map(click, range(CLICKS)))
    milliseconds = (monotonic() - began) * 1000
    assert [answer.status_code for answer in answers] == [202] * CLICKS
    commands = {answer.json()["id"] for answer in answers}
    print(f"{CLICKS} clicks at once: commands {len(commands)}, answers by {milliseconds:.0f} ms")
    assert len(commands) == 1


def test_without_a_key_for_the_request_nothing_is_done(client: TestClient) -> None:
    for headers in ({}, {"Idempotency-Key": '""'}):
        problem = client.post(CORRECTIONS, json=CORRECTION, headers=headers)
        assert (problem.status_code, problem.json()["type"]) == (
            400,
            "/problems/no-idempotency-key",
        )
    problem = client.post(CORRECTIONS, json=CORRECTION, headers={"Idempotency-Key": "a b"})
    assert problem.status_code == 422
    assert "Idempotency-Key" in problem.json()["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "amendment"),
        ("venue", "Binance"),
        ("venue", "binance_spot\n"),
        ("symbol", "btcusdt"),
        ("symbol", "BTCUSDT'"),
        ("trade_id", -1),
        ("trade_id", 2**63),
        ("trade_id", "7"),
        ("event_time", "2024-08-08T23:59:30"),
        ("event_time", 1723161570),
        ("event_time", "1999-12-31T23:59:59Z"),
        ("event_time", "2199-01-01T00:00:00Z"),
        ("price", None),
        ("price", 61699.2),
        ("price", "0"),
        ("price", "-1"),
        ("price", "NaN"),
        ("price", "Infinity"),
        ("price", "0.000000001"),
        ("price", "10000000000"),
        ("quantity", "one"),
        ("quantity_unit", "LOTS"),
        ("contract_size", "1000000"),
        ("colour", "red"),
    ],
)
def test_a_bad_body_is_told_which_field(client: TestClient, field: str, value: object) -> None:
    problem = ask(client, **{field: value})
    assert (problem.status_code, problem.json()["type"]) == (422, "/problems/invalid-request")
    assert f"body.{field}" in [one["where"] for one in problem.json()["errors"]]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quantity_unit": "CONTRACT"}, "contract_size"),
        ({"contract_size": "10"}, "contract_size"),
        ({"price": "9999999999", "quantity": "9999999999"}, "price times quantity"),
        ({"kind": "cancellation"}, "a cancellation has none"),
    ],
)
def test_fields_that_do_not_go_together(
    client: TestClient, changes: dict[str, Any], told: str
) -> None:
    problem = ask(client, **changes)
    assert problem.status_code == 422
    assert told in problem.json()["detail"]


def test_whom_to_forget_is_named_by_an_id(client: TestClient) -> None:
    problem = ask(client, ERASURES, customer_id="C 1' or '1")
    assert [one["where"] for one in problem.json()["errors"]] == ["body.customer_id"]


def test_a_command_that_nobody_asked_for(client: TestClient) -> None:
    problem = client.get(f"/v1/commands/{uuid.uuid4()}")
    assert (problem.status_code, problem.json()["type"]) == (404, "/problems/no-such-command")


def test_the_trace_of_the_request_goes_into_the_headers_of_the_message(
    client: TestClient, settings: Settings
) -> None:
    trace_id = uuid.uuid4().hex
    headers = keyed() | {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    client.post(CORRECTIONS, json=CORRECTION, headers=headers)
    tables: OwnTables = command_tables(settings, budget_seconds=1)
    rows = tables.in_transaction(lambda connection: connection.execute(OUTBOX.select()).all())
    tables.close()
    assert trace_id in rows[-1].headers

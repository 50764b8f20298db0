"""What stands before the routes: rate limits, sizes, slow clients; and how errors look."""

import asyncio
import re
from time import monotonic
from typing import Any

import pytest
from calling import client_of
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from lakehouse.settings import Settings
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKey, ApiKeys
from serving.api.limits import TokenBucket
from serving.api.slow_clients import SlowClients
from serving.engines import Engine

pytestmark = pytest.mark.serving


@pytest.fixture
def strict(settings: Settings, sql: Engine, keys: ApiKeys) -> FastAPI:
    changed = {"api_requests_at_once": 3, "api_requests_per_second": 0.001, "api_max_body_bytes": 9}
    return create_app(settings.model_copy(update=changed), Gate(sql, at_once=2), keys)


def test_a_bucket_gives_what_it_holds_and_fills_up_again() -> None:
    bucket = TokenBucket(capacity=2, per_second=0.5, tokens=2, at=100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]
    assert (bucket.seconds_to_one, bucket.seconds_to_full) == (2, 4)
    assert [bucket.take(101.9), bucket.take(102.0), bucket.take(102.0)] == [False, True, False]
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


def test_each_key_has_a_bucket_of_its_own(strict: FastAPI, keys: ApiKeys) -> None:
    one, other = (client_of(strict, keys.create(name)) for name in ("one", "other"))
    began = monotonic()
    answers = [one.get("/v1/instruments") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    left = [re.fullmatch(r'"key";r=(\d);t=\d+', a.headers["ratelimit"]) for a in answers]
    assert [found and found[1] for found in left] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.headers["ratelimit-policy"] == '"key";q=3;w=3000'
    assert 1000 >= int(refused.headers["retry-after"]) >= 1000 - (monotonic() - began)
    assert refused.json()["type"] == "/problems/rate-limited"
    assert other.get("/v1/instruments").status_code == 200
    assert one.get("/health/live").status_code == 200


def test_guesses_are_limited_before_they_are_looked_up(
    strict: FastAPI, keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    find = ApiKeys.find

    def counted(self: ApiKeys, key: str) -> ApiKey | None:
        looked_up.append(key)
        return find(self, key)

    monkeypatch.setattr(ApiKeys, "find", counted)
    known = client_of(strict, keys.create("known"))
    assert known.get("/v1/instruments").status_code == 200
    answers = [client_of(strict, f"lh_guess{n}_x").get("/v1/bars") for n in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 429, 429, 429]
    assert answers[-1].headers["ratelimit-policy"].startswith('"address";q=3')
    assert looked_up[1:] == ["lh_guess0_x", "lh_guess1_x"]
    assert known.get("/v1/instruments").status_code == 200  # who is known is nobody's neighbour


def test_a_revoked_key_is_limited_by_address(strict: FastAPI, keys: ApiKeys) -> None:
    key = keys.create("revoked")
    keys.revoke(key.split("_")[1])
    answers = [client_of(strict, key).get("/v1/bars") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


def test_for_what_is_for_anybody_no_key_is_looked_up(
    strict: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ApiKeys, "find")
    assert client_of(strict, "lh_guess_x").get("/health/live").status_code == 200


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_that_is_too_large_is_refused(
    strict: FastAPI, everything: str, stated: bool
) -> None:
    @strict.post("/echo", include_in_schema=False)
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    caller = client_of(strict, everything)
    assert caller.post("/echo", content=b"x" * 9).content == b"x" * 9
    parts: Any = b"x" * 10 if stated else iter([b"x" * 5] * 2)
    began = monotonic()
    answer = caller.post("/echo", content=parts)
    milliseconds = (monotonic() - began) * 1000
    print(f"of a body of 10 bytes where 9 may be: {answer.status_code} after {milliseconds:.0f} ms")
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "may have 9 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nowhere", 404),
        ("DELETE", "/v1/bars", 405),
        ("PUT", "/v1/predictions:score", 405),
        ("GET", "/v1/bars?limit=0", 422),
        ("GET", "/v1/bars?limit=5001", 422),
        ("GET", "/v1/bars?start=yesterday", 422),
        ("GET", "/v1/bars?start=0", 422),
        ("GET", "/v1/bars?start=1.7e9", 422),
        ("GET", "/v1/bars?start=2024-08-09T00:00:00", 422),
        ("GET", "/v1/bars?start=0001-01-01T00:00:00%2B14:00", 422),
        ("GET", "/v1/bars?venue=%00", 422),
        ("GET", "/v1/bars?tier=best", 422),
        ("GET", "/v1/bars?colour=red", 422),
        ("GET", "/v1/market/daily?start=2024-08-09T10:00:00Z", 422),
        ("GET", "/v1/positions/-", 422),
        ("GET", "/v1/bars?tier=live&as_of=2024-08-09T00:00:00Z", 422),
    ],
)
def test_every_error_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["instance"] == path.partition("?")[0]
    assert {"type", "title", "detail"} <= set(problem)
    if status == 405:
        assert answer.headers["allow"] == ("GET" if method == "DELETE" else "POST")


def test_a_fault_names_the_parameter(client: TestClient) -> None:
    problem = client.get("/v1/bars?limit=0&colour=red").json()
    assert {fault["where"] for fault in problem["errors"]} == {"query.limit", "query.colour"}


def test_a_body_that_is_no_text_is_not_valid(client: TestClient) -> None:
    json = {"Content-Type": "application/json"}
    answer = client.post("/v1/predictions:score", content=b"\xff", headers=json)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_what_nobody_foresaw_tells_no_secret(api: FastAPI, everything: str) -> None:
    @api.get("/surprise", include_in_schema=False)
    def surprise() -> None:
        raise ValueError("password=1234")

    api.router.routes.insert(0, api.router.routes.pop())
    answer = client_of(api, everything).get("/surprise")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/unexpected")
    assert "1234" not in answer.text


def test_a_trace_is_gone_on_with(client: TestClient, spans: Any) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    sent = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    problem = client.get("/v1/bars?limit=0", headers=sent).json()
    assert problem["trace_id"] == trace_id
    assert f"{spans()[-1].context.trace_id:032x}" == trace_id


def test_requests_are_measured_by_route(client: TestClient) -> None:
    client.get("/v1/positions/C-1")
    client.get("/nowhere/at/all")
    page = client.get("/metrics").text
    of_one = 'method="GET",route="/v1/positions/{customer}",status="200"'
    assert f"lakehouse_api_request_seconds_count{{{of_one}}}" in page
    assert "/nowhere" not in page


class Exchange:
    """A client that sends its body in parts, or takes an answer, as slowly as is told."""

    def __init__(self, parts: list[Message], takes_answers: bool = True) -> None:
        self.parts = iter(parts)
        self.takes_answers = takes_answers
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        for part in self.parts:
            return part
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        if not self.takes_answers:
            await asyncio.Event().wait()
        self.sent.append(message)


async def _echo(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _run(exchange: Exchange) -> None:
    guarded = SlowClients(_echo, seconds=0.05)
    scope = {"type": "http", "path": "/", "method": "POST"}
    asyncio.run(asyncio.wait_for(guarded(scope, exchange.receive, exchange.send), 5))


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    part = {"type": "http.request", "body": b"x", "more_body": True}
    exchange = Exchange([part, part])
    with pytest.raises(HTTPException, match="nothing came of the request's body"):
        _run(exchange)
    assert exchange.sent == []


def test_who_takes_no_answer_is_left() -> None:
    exchange = Exchange([{"type": "http.request", "body": b""}], takes_answers=False)
    _run(exchange)
    assert exchange.sent == []


def test_whoever_keeps_up_is_not_disturbed() -> None:
    exchange = Exchange([{"type": "http.request", "body": b""}])
    _run(exchange)
    assert [message["type"] for message in exchange.sent] == [
        "http.response.start",
        "http.response.body",
    ]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter.get_finished_spans

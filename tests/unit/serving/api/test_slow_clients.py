"""Clients that stall in the middle of what they send or are sent, at the running API."""

import json
import socket
from collections.abc import Iterator
from functools import partial
from time import monotonic

import pytest
import requests
from calling import eventually
from posted import ERASURES, keyed
from prometheus_client import REGISTRY
from running import running
from served_rows import as_told, bar_of
from told import ToldStore

from lakehouse.settings import Settings
from serving.api import slow_clients
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.engines import Engine

pytestmark = pytest.mark.serving

# Of what is waited for: a busy machine takes its time.
SECONDS = 20
# At each turn many kilobytes are told to who follows all, and one row to the other.
SYMBOLS = 1_000


@pytest.fixture
def live(settings: Settings) -> ToldStore:
    live = ToldStore(settings)
    live.tell_progress({0: 1}, age_seconds=-3600)
    return live


@pytest.fixture
def part_seconds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """How long clients have for each part."""
    seconds: float = request.param
    monkeypatch.setattr(slow_clients, "PART_SECONDS", seconds)
    return seconds


@pytest.fixture
def address(
    settings: Settings, sql: Engine, keys: ApiKeys, live: ToldStore, part_seconds: float
) -> Iterator[str]:
    with running(create_app(settings, Gate(sql, at_once=2), keys, live)) as address:
        yield address


def begun(address: str, what: str, **headers: str) -> socket.socket:
    """Begin a request on a connection that takes in little unless it is read from."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(SECONDS)
    connection.connect((host, int(port)))
    said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"{what} HTTP/1.1\r\nHost: {host}\r\n{said}\r\n".encode())
    return connection


@pytest.mark.parametrize("part_seconds", [0.3], indirect=True)
def test_a_body_that_stalls_is_refused_and_its_connection_closed(
    address: str, everything: str, part_seconds: float
) -> None:
    headers = keyed() | {"Authorization": f"Bearer {everything}", "Content-Length": "30"}
    began = monotonic()
    with begun(address, f"POST {ERASURES}", **headers) as stalled:
        stalled.sendall(b'{"customer_id": ')
        assert requests.get(f"{address}/health/live", timeout=SECONDS).status_code == 200
        answer = b"".join(iter(partial(stalled.recv, 65_536), b""))  # to the connection's end
    seconds = monotonic() - began
    print(f"of a body nothing came for {part_seconds:g} s: 408 and the end after {seconds:.2f} s")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    problem = json.loads(body)
    assert problem["type"] == "/problems/too-slow"
    assert f"nothing came of the request's body for {part_seconds:g} s" in problem["detail"]
    assert seconds >= part_seconds


@pytest.mark.parametrize("part_seconds", [2.0], indirect=True)
def test_who_takes_nothing_holds_up_nobody_and_is_left(
    address: str,
    everything: str,
    live: ToldStore,
    part_seconds: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = {"Authorization": f"Bearer {everything}"}
    followed = partial(requests.get, f"{address}/v1/stream?symbol=BTCUSDT", stream=True)
    offset, longest = 0, 0.0
    with (
        begun(address, "GET /v1/stream?venue=binance_spot", **key),
        followed(headers=key, timeout=SECONDS) as answer,
    ):
        eventually(lambda: readers() == 2, SECONDS)
        lines, began = answer.iter_lines(), monotonic()
        while readers() == 2:
            offset, told_at = offset + 1, monotonic()
            row = as_told(bar_of(4, offset))
            live.tell("bars_1m", [row | {"symbol": f"S{n}"} for n in range(SYMBOLS)] + [row])
            next(line for line in lines if f'"last_offset":{offset},'.encode() in line)
            longest = max(longest, monotonic() - told_at)
            assert monotonic() - began < SECONDS, "who takes nothing is not left"
        print(
            f"who took nothing for {part_seconds:g} s was left; until then another was told of "
            f"each of {offset} rows within {longest:.2f} s"
        )
        # Who waits for the other waits for as long as that is waited for.
        assert longest < part_seconds
        assert readers() == 1
    assert "Exception" not in caplog.text  # to be left is no failure of the API


def readers() -> float | None:
    return REGISTRY.get_sample_value("lakehouse_api_stream_clients")

"""Starting, stopping and looking at a home's processes, with stand-ins for the real ones."""

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from lakehouse import broker, embedded, operations
from lakehouse.components import Launch
from lakehouse.errors import LakehouseError
from lakehouse.processes import ProcessError, Supervisor
from lakehouse.settings import Settings

# A layer's sign of life, then work without end; a layer that fails; a verb that ends well.
BEATING = (
    "import sys, time; from lakehouse.heartbeat import Heartbeat; "
    "from lakehouse.settings import get_settings; "
    "Heartbeat(get_settings(), sys.argv[1]).beat(); time.sleep(600)"
)
ANSWERING = (
    "import sys; from http.server import BaseHTTPRequestHandler as H, HTTPServer; "
    "H.do_GET = lambda self: (self.send_response(200), self.end_headers()); "
    "HTTPServer(('127.0.0.1', int(sys.argv[-1])), H).serve_forever()"
)
LAYERS = dict.fromkeys(("land", "speed", "live", "files", "commands"), BEATING)
VERBS = {**LAYERS, "api": ANSWERING, "schemas": "pass"}


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[dict[str, str]]:
    """Python code that stands in for each verb; the broker is a process that only sleeps."""
    code = dict(VERBS)

    sleeping = Launch([sys.executable, "-c", "import time; time.sleep(600)"], port=1)
    monkeypatch.setattr(
        embedded, "verb", lambda *words: [sys.executable, "-c", code[words[0]], *words]
    )
    monkeypatch.setattr(broker, "launch", lambda *_: sleeping)
    monkeypatch.setattr(embedded, "broker_answers", lambda _: True)
    monkeypatch.setattr(embedded, "ensure_topics", lambda settings: None)
    monkeypatch.setattr(embedded, "LAYER_DEADLINE_SECONDS", 30.0)
    yield code
    operations.down(settings)


def running(settings: Settings) -> list[str]:
    return [entry.name for entry in operations.status(settings) if entry.state == "running"]


def test_up_starts_all_in_order_and_down_stops_all(
    settings: Settings, verbs: dict[str, str]
) -> None:
    told: list[str] = []
    operations.up(settings, told.append)
    assert running(settings) == ["kafka", "land", "speed", "live", "files", "api", "commands"]
    assert told[:3] == ["starting kafka", "making the topics", "making the tables"]
    by_name = {entry.name: entry for entry in operations.status(settings)}
    assert (by_name["land"].health, by_name["kafka"].health) == ("ready", "ready")
    assert (by_name["land"].memory_bytes or 0) > 0
    stopped = ["commands", "api", "files", "live", "speed", "land", "kafka"]
    assert operations.down(settings) == stopped
    assert running(settings) == []
    assert operations.down(settings) == []


def test_up_again_starts_only_what_is_missing(settings: Settings, verbs: dict[str, str]) -> None:
    operations.up(settings, lambda _: None, only=["kafka", "land"])
    before = {entry.name: entry.pid for entry in operations.status(settings)}
    operations.up(settings, lambda _: None)
    after = {entry.name: entry.pid for entry in operations.status(settings)}
    assert (after["kafka"], after["land"]) == (before["kafka"], before["land"])
    assert after["speed"] is not None


def test_a_layer_that_dies_takes_down_what_was_started_with_it(
    settings: Settings, verbs: dict[str, str]
) -> None:
    operations.up(settings, lambda _: None, only=["kafka"])
    verbs["speed"] = "raise SystemExit('no checkpoint')"
    with pytest.raises(ProcessError, match=r"speed died while starting(.|\n)*no checkpoint"):
        operations.up(settings, lambda _: None)
    assert running(settings) == ["kafka"], "what ran before is not touched"


def test_tables_that_cannot_be_made_are_said_with_the_reason(
    settings: Settings, verbs: dict[str, str]
) -> None:
    verbs["schemas"] = "raise SystemExit('contract gold.bars_1m: unknown type')"
    with pytest.raises(LakehouseError, match=r"`lakehouse schemas apply` failed:\n.*unknown type"):
        operations.up(settings, lambda _: None)
    assert running(settings) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_any_step_nothing_is_left_running(
    settings: Settings, verbs: dict[str, str], number: signal.Signals
) -> None:
    def interrupt(step: str) -> None:
        if step == "starting speed":
            assert running(settings) == ["kafka", "land"]
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        operations.up(settings, interrupt)
    assert running(settings) == []


def test_a_killed_layer_is_dead_until_up_starts_it_again(
    settings: Settings, verbs: dict[str, str]
) -> None:
    operations.up(settings, lambda _: None, only=["kafka", "land"])
    record = Supervisor(settings.home).find("land")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while record.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    states = {entry.name: entry.state for entry in operations.status(settings)}
    assert states == {
        "kafka": "running",
        "land": "dead",
        "speed": "stopped",
        "live": "stopped",
        "files": "stopped",
        "api": "stopped",
        "commands": "stopped",
    }
    operations.up(settings, lambda _: None, only=["land"])
    assert running(settings) == ["kafka", "land"]


def test_a_layer_without_beats_is_stalled(
    settings: Settings, verbs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    operations.up(settings, lambda _: None, only=["kafka", "land"])
    monkeypatch.setattr(embedded, "STALLED_SECONDS", 0.0)
    [land] = [entry for entry in operations.status(settings) if entry.name == "land"]
    assert land.health == "stalled"

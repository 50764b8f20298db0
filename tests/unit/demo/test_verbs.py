"""Commands in processes of their own: what they say, and that none outlives its context."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from demo import verbs
from demo.verbs import Verb, VerbFailedError
from lakehouse.settings import Settings

DEADLINE_SECONDS = 30.0

# A leader that ignores polite requests, and a child of it that does as well.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in place of the command line."""
    script = tmp_path / "program.py"
    monkeypatch.setattr(verbs, "LAKEHOUSE", (sys.executable, str(script)))
    return script


def test_a_real_verb_in_the_home_of_the_settings(settings: Settings) -> None:
    with Verb(settings, "status", "--json") as status:
        found = status.result()
    names = {entry["name"] for entry in found}
    assert names == {"kafka", "land", "speed", "live", "files", "api", "commands"}
    assert {entry["state"] for entry in found} == {"stopped"}


def test_a_failure_is_quoted(settings: Settings, scripted: Path) -> None:
    scripted.write_text("import sys; print('the disk is full', file=sys.stderr); sys.exit(7)")
    with (
        Verb(settings, "batch", "--json") as batch,
        pytest.raises(VerbFailedError, match=r"(?s)lakehouse batch --json.* 7.*the disk is full"),
    ):
        batch.result()


def test_no_json_is_a_failure(settings: Settings, scripted: Path) -> None:
    scripted.write_text("print('all is well')")
    with Verb(settings, "batch") as batch, pytest.raises(VerbFailedError):
        batch.result()


def test_it_is_alive_until_it_fails(settings: Settings, scripted: Path) -> None:
    scripted.write_text("print('{\"events\": 3}')")
    with Verb(settings, "replay") as replay:
        assert replay.alive
        assert replay.result() == {"events": 3}
        assert replay.alive
    scripted.write_text("raise SystemExit(1)")
    with Verb(settings, "replay") as replay:
        while replay.running:
            time.sleep(0.01)
        with pytest.raises(VerbFailedError):
            _ = replay.alive


def test_leaving_ends_it_and_its_children(
    settings: Settings, scripted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "STOP_GRACE_SECONDS", 0.2)
    scripted.write_text(STUBBORN)
    with Verb(settings, "stubborn") as running:
        output = settings.home / "logs" / "stubborn.json"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (said := output.read_text().strip()):
            assert time.monotonic() < deadline, "the child was never started"
            time.sleep(0.01)
        child = psutil.Process(int(said))
        assert os.getpgid(child.pid) != os.getpgid(0)
    assert not running.running
    gone, left = psutil.wait_procs([child], timeout=DEADLINE_SECONDS)
    assert (len(gone), left) == (1, [])

"""A command that is started again whenever it ends by itself, until both are told to stop."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from lakehouse.stack import kept
from lakehouse.stack.kept import Kept

DEADLINE_SECONDS = 60.0
# Adds a line, and ends; the third stays until it is told to stop.
LIVES = """
import pathlib, signal, sys
file = pathlib.Path(sys.argv[1])
with file.open("a") as lines:
    print("lives", file=lines)
if len(file.read_text().splitlines()) == 3:
    signal.pause()
sys.exit(7)
"""


def lives(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_what_has_settled_comes_back_until_it_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "PAUSE_SECONDS", 0.01)
    file = tmp_path / "lives"
    one = Kept([sys.executable, "-c", LIVES, str(file)], settled_seconds=0.0)

    def stop_the_third() -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while lives(file) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        one.stop(signal.SIGTERM, None)

    stopping = Timer(0, stop_the_third)
    stopping.start()
    code = one.run()
    stopping.join()
    assert code == -signal.SIGTERM
    assert lives(file) == 3


def test_what_cannot_be_started_ends_with_its_own_code(tmp_path: Path) -> None:
    one = [sys.executable, "-c", LIVES, str(tmp_path / "lives")]
    assert Kept(one).run() == 7
    assert lives(tmp_path / "lives") == 1


def test_a_signal_reaches_what_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "lives"
    file.write_text("lives\nlives\n")
    keeper = subprocess.Popen(
        [sys.executable, "-m", kept.__name__, sys.executable, "-c", LIVES, str(file)]
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while lives(file) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    keeper.terminate()
    assert keeper.wait(DEADLINE_SECONDS) == -signal.SIGTERM % 256

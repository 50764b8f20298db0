"""Dropped files against crashes, slow writers and stops: in processes of their own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dropped_files import FileLake, csv_of, instrument

from lakehouse.heartbeat import beat_path
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 60.0
WATCH = "from ingestion.files.cli import app; app(prog_name='lakehouse')"
# A process that ends without a word right after one of the steps of a load.
DIE_AFTER = """
import os, signal, sys
from {module} import {owner}
step = {owner}.{step}
def dying(*args, **kwargs):
    step(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
{owner}.{step} = dying
from ingestion.files.cli import app
app(prog_name="lakehouse")
"""
STEPS = {
    "rows": ("ingestion.files.loader", "FileLoader", "_write_rows"),
    "dead letters": ("ingestion.files.loader", "FileLoader", "_write_dead_letters"),
    "the record": ("ingestion.files.loads", "FileLog", "record"),
    "the move": ("ingestion.files.drop_folder", "DropFolder", "_move"),
}
ONCE = ("files", "watch", "--once", "--settle-seconds", "0")


@pytest.fixture
def lake(settings: Settings) -> FileLake:
    return FileLake(settings)


def start(lake: FileLake, *words: str, code: str = WATCH) -> "subprocess.Popen[bytes]":
    environ = os.environ | {"LAKEHOUSE_HOME": str(lake.settings.home)}
    log = (lake.settings.home / "files.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], env=environ, stdout=log, stderr=log
        )


@pytest.fixture
def watching(lake: FileLake) -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    """Start a watcher, and wait until it looks."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(settle_seconds: str = "0.2") -> "subprocess.Popen[bytes]":
        beat = beat_path(lake.settings.home, "files")
        beat.unlink(missing_ok=True)
        process = start(lake, "files", "watch", "--settle-seconds", settle_seconds)
        started.append(process)
        wait_for(beat.exists, "the watcher looks")
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def end_of(process: "subprocess.Popen[bytes]") -> int:
    try:
        return process.wait(DEADLINE_SECONDS)
    finally:
        process.kill()
        process.wait()


def die_after(lake: FileLake, step: str) -> None:
    module, owner, name = STEPS[step]
    dying = DIE_AFTER.format(module=module, owner=owner, step=name)
    assert end_of(start(lake, *ONCE, code=dying)) == -signal.SIGKILL, "the step was never taken"


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_any_step_a_load_is_finished_once(lake: FileLake, step: str) -> None:
    lake.put("i.csv", csv_of(instrument("A"), instrument("bad"), instrument("C")))
    die_after(lake, step)
    assert end_of(start(lake, *ONCE)) == 0
    assert lake.lines() == Counter({("i.csv", 2): 1, ("i.csv", 4): 1})
    assert lake.refused_lines() == Counter({"i.csv:3": 1})
    assert lake.verdicts() == [("i.csv", "LOADED")]
    assert [name.rpartition("/")[0] for name in lake.lying()] == ["loaded/instruments"]


@pytest.mark.parametrize("step", ["the record", "the move"])
def test_killed_after_any_step_a_refusal_is_finished(lake: FileLake, step: str) -> None:
    lake.put("i.csv", "venue\nv\n")
    die_after(lake, step)
    assert end_of(start(lake, *ONCE)) == 0
    assert set(lake.verdicts()) == {("i.csv", "REFUSED")}
    assert [name.rpartition("/")[0] for name in lake.lying()] == ["refused/instruments"] * 2


def test_killed_at_random_moments_every_line_is_somewhere_once(
    lake: FileLake, watching: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    chance = random.Random(11)
    good, bad = Counter[tuple[str, int]](), Counter[str]()
    for number in range(12):
        rows = [
            instrument(f"S{number}-{row}", tick_size="0.1" if chance.random() < 0.9 else "0")
            for row in range(200)
        ]
        name = f"{number}.csv"
        for line, row in enumerate(rows, start=2):
            if row["tick_size"] == "0":
                bad[f"{name}:{line}"] += 1
            else:
                good[name, line] += 1
        lake.put(name, csv_of(*rows))
    for _ in range(4):
        process = watching()
        before = len(lake.folder.waiting())
        wait_for(lambda seen=before: len(lake.folder.waiting()) != seen or not seen, "it loads")
        time.sleep(chance.uniform(0, 0.4))  # the random moment itself
        process.kill()
        process.wait()
    assert end_of(start(lake, *ONCE)) == 0
    assert lake.lines() == good
    assert lake.refused_lines() == bad
    assert Counter(lake.verdicts()) == Counter(
        {(f"{number}.csv", "LOADED"): 1 for number in range(12)}
    )
    assert not lake.folder.waiting()


def test_a_half_written_file_waits_until_it_is_whole(
    lake: FileLake, watching: Callable[[str], "subprocess.Popen[bytes]"]
) -> None:
    watching("1.5")
    text = csv_of(*(instrument(f"S{number}") for number in range(40)))
    path = lake.folder.root / "instruments" / "slow.csv"
    other = lake.put("other.csv.part", text + "\n\n")
    with path.open("w") as file:
        for at in range(0, len(text), 200):
            file.write(text[at : at + 200])
            file.flush()
            time.sleep(0.1)  # a slow writer
            assert path.exists(), "half of a file was taken"
    wait_for(lambda: not path.exists(), "the whole file is taken")
    assert lake.lines() == Counter({("slow.csv", line): 1 for line in range(2, 42)})
    assert other.exists()
    other.rename(other.with_name("other.csv"))
    wait_for(lambda: len(lake.verdicts()) == 2, "a file that was renamed is taken")


def test_a_stop_ends_the_watch_without_an_error(
    lake: FileLake, watching: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    process = watching()
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == 0


def test_two_watchers_of_one_folder_load_each_file_once(
    lake: FileLake, watching: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    for _ in range(2):
        watching()
    paths = [lake.put(f"{number}.csv", csv_of(instrument(f"S{number}"))) for number in range(8)]
    wait_for(lambda: not any(path.exists() for path in paths), "all are taken")
    wait_for(lambda: len(lake.verdicts()) == len(paths), "all are recorded")
    assert lake.lines() == Counter({(path.name, 2): 1 for path in paths})


def test_files_are_told_of_as_they_become_whole_until_nobody_listens(lake: FileLake) -> None:
    words = ("files", "waiting", "--follow", "--json", "--settle-seconds", "0.2")
    environ = os.environ | {"LAKEHOUSE_HOME": str(lake.settings.home)}
    watch = [sys.executable, "-c", WATCH, *words]
    code = f"import subprocess, time; subprocess.Popen({watch!r}); time.sleep(600)"
    starter = subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    try:
        for number in range(2):
            lake.put(f"{number}.csv", csv_of(instrument(f"S{number}")))
            assert json.loads(starter.stdout.readline())["file"] == f"instruments/{number}.csv"
        lake.put("0.csv", csv_of(instrument("S2")))
        assert json.loads(starter.stdout.readline())["file"] == "instruments/0.csv"
    finally:
        starter.kill()
        starter.wait()
    assert starter.stdout.read() == "", "it ends with whoever started it"


def test_what_cannot_be_read_is_left_alone(lake: FileLake, tmp_path: Path) -> None:
    lake.put("good.csv", csv_of(instrument()))
    (lake.folder.root / "instruments" / "dangling.csv").symlink_to(tmp_path / "nowhere")
    assert end_of(start(lake, *ONCE)) == 0
    assert lake.verdicts() == [("good.csv", "LOADED")]

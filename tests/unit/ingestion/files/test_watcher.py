"""What a look at the drop folder takes, and what it leaves."""

import errno
import os
from pathlib import Path
from threading import Event

import pytest
from dropped_files import FileLake, csv_of, instrument
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ingestion.files.drop_folder import Arrival, DropFolder, State
from ingestion.files.loader import FileChangedError, FileLoader
from ingestion.files.loads import FileLoad, Status
from ingestion.files.watcher import RETRY_SECONDS, Watcher
from lakehouse.settings import Settings


@pytest.fixture
def lake(settings: Settings) -> FileLake:
    return FileLake(settings)


def watcher(lake: FileLake, now: list[float], settle_seconds: float = 2) -> Watcher:
    return Watcher(lake.folder, lake.loader, settle_seconds=settle_seconds, clock=lambda: now[-1])


def test_a_look_takes_what_has_settled_and_tells_of_it(lake: FileLake) -> None:
    now, told = [0.0], list[FileLoad]()
    watching = watcher(lake, now)
    lake.put("a.csv", csv_of(instrument("A")))
    for at in (0.0, 1.9):
        now.append(at)
        watching.look(told.append)
    assert told == []
    lake.put("b.csv", csv_of(instrument("B")))
    now.append(2.0)
    watching.look(told.append)
    assert [verdict.file_name for verdict in told] == ["a.csv"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_keeps_no_other_waiting_and_is_tried_again(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked: list[Path] = []
    original = DropFolder.arrival

    def broken(self: DropFolder, path: Path) -> Arrival:
        asked.append(path)
        if path.name == "a.csv":
            raise OSError(code, os.strerror(code), str(path))
        return original(self, path)

    now = [0.0]
    watching = watcher(lake, now, settle_seconds=0)
    path = lake.put("a.csv", csv_of(instrument("A")))
    other = lake.put("b.csv", csv_of(instrument("B")))
    with monkeypatch.context() as patched:
        patched.setattr(DropFolder, "arrival", broken)
        with capture_logs() as logs:
            watching.look()
            watching.run(once=True, stop=Event())
        assert asked == [path, other]
        assert lake.verdicts() == [("b.csv", "LOADED")]
        (said,) = (line for line in logs if line["event"] == "left")
        assert said["file"] == "a.csv"
        assert os.strerror(code) in said["error"]
        now.append(RETRY_SECONDS)
        watching.look()
        assert asked == [path, other, path]
    assert set(watching.left) == {path}
    now.append(2 * RETRY_SECONDS)
    watching.look()
    assert lake.verdicts() == [("b.csv", "LOADED"), ("a.csv", "LOADED")]
    assert not watching.left


def test_a_file_that_was_left_is_tried_at_once_when_it_changes(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_self: DropFolder, path: Path) -> Arrival:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    watching = watcher(lake, [0.0], settle_seconds=0)
    lake.put("a.csv", "x")
    with monkeypatch.context() as patched:
        patched.setattr(DropFolder, "arrival", forbidden)
        watching.look()
    lake.put("a.csv", csv_of(instrument("A")))
    watching.look()
    assert lake.verdicts() == [("a.csv", "LOADED")]


def test_a_file_that_vanishes_as_it_is_taken_is_forgotten(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DropFolder.dataset_of

    def snatched(self: DropFolder, path: Path) -> str:
        path.unlink()
        return original(self, path)

    watching = watcher(lake, [0.0], settle_seconds=0)
    lake.put("a.csv", csv_of(instrument("A")))
    monkeypatch.setattr(DropFolder, "dataset_of", snatched)
    watching.look()
    watching.run(once=True, stop=Event())
    assert not watching.left
    assert lake.verdicts() == []


def test_a_folder_that_cannot_be_read_for_a_while_is_waited_for(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_self: DropFolder) -> dict[Path, State]:
        raise OSError(errno.ESTALE, "Stale file handle")

    watching = watcher(lake, [0.0], settle_seconds=0)
    lake.put("a.csv", csv_of(instrument("A")))
    with monkeypatch.context() as patched:
        patched.setattr(DropFolder, "waiting", away)
        watching.look()
    watching.run(once=True, stop=Event())
    assert lake.verdicts() == [("a.csv", "LOADED")]


def test_what_somebody_still_writes_to_is_looked_at_again(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def growing(_self: FileLoader, path: Path) -> None:
        raise FileChangedError(str(path))

    watching = watcher(lake, [0.0], settle_seconds=0)
    lake.put("a.csv", csv_of(instrument("A")))
    with monkeypatch.context() as patched:
        patched.setattr(FileLoader, "load", growing)
        watching.look()
    watching.look()
    assert lake.verdicts() == [("a.csv", "LOADED")]


def test_a_scrape_finds_what_was_loaded_and_what_waits(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DropFolder.arrival

    def sample(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"lakehouse_files_{name}", labels) or 0.0

    def taken() -> dict[str, float]:
        found = {s.value: sample("taken_total", dataset="instruments", status=s) for s in Status}
        rows = ("rows_total", "dead_letters_total")
        return found | {name: sample(name, dataset="instruments") for name in rows}

    def broken(self: DropFolder, path: Path) -> Arrival:
        if path.name == "e.csv":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return original(self, path)

    monkeypatch.setattr(DropFolder, "arrival", broken)
    before, now = taken(), [0.0]
    watching = watcher(lake, now)
    good = csv_of(instrument("A"), instrument("bad"), instrument("B"))
    for name in ("a.csv", "b.csv", "e.csv"):
        lake.put(name, good)
    lake.put("c.csv", "venue\nv\n")
    watching.look()
    lake.put("d.csv", good)
    lake.put("f.csv.part", "venue")
    now.append(2.0)
    watching.look()
    assert {name: value - before[name] for name, value in taken().items()} == {
        "LOADED": 1,
        "DUPLICATE": 1,
        "REFUSED": 1,
        "rows_total": 2,
        "dead_letters_total": 1,
    }
    states = ("settling", "unfinished", "left")
    assert [sample("waiting", state=state) for state in states] == [1, 1, 1]

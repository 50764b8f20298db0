"""What a look at the drop folder takes, and what it leaves."""

from pathlib import Path
from threading import Event

import pytest
from dropped_files import FileLake, csv_of, instrument

from ingestion.files.loader import FileChangedError, FileLoader
from ingestion.files.loads import FileLoad
from ingestion.files.watcher import Watcher
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


def test_what_may_not_be_read_is_left_alone_until_it_changes(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def forbidden(_self: FileLoader, path: Path) -> None:
        asked.append(path)
        raise PermissionError(13, "Permission denied")

    watching = watcher(lake, [0.0], settle_seconds=0)
    path = lake.put("a.csv", "x")
    with monkeypatch.context() as patched:
        patched.setattr(FileLoader, "load", forbidden)
        watching.look()
        watching.look()
        watching.run(once=True, stop=Event())
        assert asked == [path]
    lake.put("a.csv", csv_of(instrument("A")))
    watching.look()
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

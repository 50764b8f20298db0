"""When a file is whole, whose it is, and where it goes."""

import os
from pathlib import Path

import pytest

from ingestion.files.drop_folder import UNKNOWN, DropFolder, NameTakenError

DATASETS = ("instruments", "eod_bars")


@pytest.fixture
def folder(tmp_path: Path) -> DropFolder:
    folder = DropFolder(tmp_path / "drop", DATASETS)
    folder.make()
    return folder


def put(folder: DropFolder, name: str, content: str = "x", modified: int = 1_000) -> Path:
    path = folder.root / name
    path.write_text(content)
    os.utime(path, (modified, modified))
    return path


def test_a_file_is_taken_when_it_has_been_the_same_for_some_time(folder: DropFolder) -> None:
    def settled(now: float) -> list[str]:
        return [path.name for path in folder.settled(now=now, settle_seconds=2)]

    put(folder, "instruments/a.csv", "half")
    assert settled(0) == []
    put(folder, "instruments/a.csv", "half and more")
    assert settled(2) == [], "it has grown"
    put(folder, "instruments/a.csv", "half and MORE", modified=1_001)
    assert settled(3.9) == [], "it was written to"
    assert settled(5.8) == []
    put(folder, "instruments/b.csv")
    assert settled(5.9) == ["a.csv"]
    (folder.root / "instruments/a.csv").unlink()
    assert settled(8) == ["b.csv"]
    put(folder, "instruments/a.csv", "half and MORE", modified=1_001)
    assert settled(8.1) == ["b.csv"], "another file of the name begins anew"


def test_without_patience_a_file_is_taken_at_the_first_look(folder: DropFolder) -> None:
    put(folder, "instruments/a.csv")
    assert folder.settled(now=0, settle_seconds=0)


def test_the_unfinished_and_the_done_are_left_alone(folder: DropFolder) -> None:
    for name in ("instruments/a.csv.part", "instruments/b.tmp", "instruments/.c.csv", ".lock"):
        put(folder, name)
    (folder.root / "instruments/deeper").mkdir()
    put(folder, "instruments/deeper/d.csv")
    (folder.root / "loaded").mkdir()
    put(folder, "loaded/e.csv")
    assert not folder.waiting()


def test_the_oldest_comes_first(folder: DropFolder) -> None:
    put(folder, "instruments/b.csv", modified=2_000)
    put(folder, "eod_bars/c.csv", modified=1_000)
    put(folder, "instruments/a.csv", modified=2_000)
    assert [path.name for path in folder.waiting()] == ["c.csv", "a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("instruments/eod_bars.csv", "instruments"),
        ("eod_bars_2024.csv", "eod_bars"),
        ("prices.csv", UNKNOWN),
    ],
)
def test_a_file_is_of_its_folders_dataset_or_of_its_names(
    folder: DropFolder, name: str, dataset: str
) -> None:
    assert folder.arrival(put(folder, name)).dataset == dataset


def test_a_placed_file_takes_nobodys_place(folder: DropFolder, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("mine")
    assert folder.place(source, "instruments").read_text() == "mine"
    source.write_text("another")
    with pytest.raises(NameTakenError, match=r"another a\.csv waits"):
        folder.place(source, "instruments")
    assert [path.read_text() for path in (folder.root / "instruments").iterdir()] == ["mine"]


def test_what_is_refused_has_the_reason_beside_it(folder: DropFolder) -> None:
    arrival = folder.arrival(put(folder, "instruments/a.csv"))
    folder.refuse(arrival, "not like this")
    refused, reason = sorted((folder.root / "refused/instruments").iterdir())
    assert refused.name.endswith("_a.csv")
    assert reason.name == refused.name + ".reason.txt"
    assert reason.read_text() == "not like this\n"
    assert not folder.waiting()
    assert not arrival.is_unchanged()

"""The verbs of files, as a person uses them."""

import json
from pathlib import Path
from threading import Thread
from urllib.request import urlopen
from wsgiref.simple_server import WSGIServer

import pytest
from dropped_files import FileLake, csv_of, instrument
from typer.testing import CliRunner, Result

from ingestion.files import cli
from ingestion.files.drop_folder import Arrival, DropFolder
from ingestion.files.loader import FileChangedError
from lakehouse.settings import Settings
from lakehouse.telemetry import serve_metrics


@pytest.fixture
def lake(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FileLake:
    monkeypatch.setattr(cli, "get_settings", lambda _role: settings)
    monkeypatch.setattr(cli, "configure_logging", lambda *_: None)
    return FileLake(settings)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder of the person's own."""
    folder = tmp_path / "desk"
    folder.mkdir()
    return folder


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["files", *words])


def test_dropped_files_are_loaded_and_stay_where_they_were(lake: FileLake, desk: Path) -> None:
    named, other = desk / "instruments_2024-08-09.csv", desk / "other.csv"
    named.write_text(csv_of(instrument("A"), instrument("bad")))
    other.write_text(csv_of(instrument("B")))
    first = run("drop", str(named))
    assert first.exit_code == 0
    assert "instruments_2024-08-09.csv: LOADED, 1 rows, 1 refused" in first.output
    assert run("drop", "--dataset", "instruments", str(other)).exit_code == 0
    assert sum(lake.lines().values()) == 2
    assert named.exists()
    assert other.exists()
    assert "DUPLICATE" in run("drop", str(named)).output


def test_a_refused_file_is_said_and_ends_in_an_error(lake: FileLake, desk: Path) -> None:
    file = desk / "instruments.csv"
    file.write_text("venue\nv\n")
    result = run("drop", str(file), "--json")
    assert result.exit_code == 1
    (verdict,) = json.loads(result.stdout.splitlines()[-1])
    assert (verdict["status"], verdict["rows_loaded"]) == ("REFUSED", 0)
    assert "instruments.symbol" in verdict["detail"]


def test_a_drop_has_the_verdict_also_where_a_watcher_would_take_the_file_at_once(
    lake: FileLake, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher waits for the folder, and finds nothing in it."""
    file = desk / "instruments.csv"
    file.write_text(csv_of(instrument()))
    place = DropFolder.place

    def seen_at_once(folder: DropFolder, source: Path, dataset: str) -> Path:
        path = place(folder, source, dataset)
        watcher = Thread(target=lake.loader.load, args=[path])
        watcher.start()
        watcher.join(0.5)
        return path

    monkeypatch.setattr(DropFolder, "place", seen_at_once)
    assert "instruments.csv: LOADED, 1 rows" in run("drop", str(file)).output
    assert lake.verdicts() == [("instruments.csv", "LOADED")]


def test_a_file_of_which_nobody_says_what_it_holds_is_asked_about(
    lake: FileLake, desk: Path
) -> None:
    file = desk / "prices.csv"
    file.write_text("x\n1\n")
    result = run("drop", str(file))
    assert result.exit_code == 2
    assert "--dataset" in result.output
    assert run("drop", "--dataset", "prices", str(file)).exit_code == 2
    assert lake.lying() == []


def test_a_list_tells_what_became_of_files_and_what_waits(lake: FileLake, desk: Path) -> None:
    file = desk / "instruments.csv"
    file.write_text(csv_of(instrument("A") | {"sector": "x"}))
    run("drop", str(file))
    waiting = lake.put("later.csv", "x")
    told = json.loads(run("list", "--json").stdout)
    assert [(load["file_name"], load["drift"]) for load in told["loads"]] == [
        ("instruments.csv", '["sector"]')
    ]
    assert told["waiting"] == [str(waiting)]
    assert "LOADED" in run("list").output


def test_a_watch_that_is_to_end_ends_when_nothing_waits(lake: FileLake) -> None:
    lake.put("i.csv", csv_of(instrument("A")))
    result = run("watch", "--once", "--settle-seconds", "0")
    assert result.exit_code == 0, result.output
    assert "i.csv: LOADED, 1 rows" in result.output
    assert not lake.folder.waiting()


def test_a_watch_that_is_to_end_says_what_it_had_to_leave(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_self: DropFolder, path: Path) -> Arrival:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(DropFolder, "arrival", unreadable)
    path = lake.put("i.csv", csv_of(instrument("A")))
    result = run("watch", "--once", "--settle-seconds", "0")
    assert result.exit_code == 1
    assert f"{path} was left: PermissionError" in result.output


def test_files_that_are_whole_are_told_of_and_not_loaded(lake: FileLake) -> None:
    path = lake.put("i.csv", csv_of(instrument("A")))
    lake.put("slow.csv.part", "x")
    result = run("waiting", "--settle-seconds", "0", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "file": "instruments/i.csv",
        "size": path.stat().st_size,
        "modified_ns": path.stat().st_mtime_ns,
    }
    assert lake.verdicts() == []


def test_one_file_is_loaded_once_however_often_it_is_asked_for(lake: FileLake) -> None:
    lake.put("i.csv", csv_of(instrument("A"), instrument("bad")))
    other = lake.put("j.csv", csv_of(instrument("B")))
    for _ in range(2):
        result = run("load", "instruments/i.csv", "--settle-seconds", "0")
        assert result.exit_code == 0, result.output
        assert "instruments/i.csv: LOADED, 1 rows, 1 refused" in result.output
    assert lake.verdicts() == [("i.csv", "LOADED")]
    assert other.exists()


def test_a_file_that_is_refused_whole_is_so_however_often_it_is_asked_for(lake: FileLake) -> None:
    lake.put("i.csv", "venue\nv\n")
    for _ in range(2):
        result = run("load", "instruments/i.csv", "--settle-seconds", "0")
        assert isinstance(result.exception, cli.FileRefusedError)
        assert "instruments.symbol" in str(result.exception)
    assert lake.verdicts() == [("i.csv", "REFUSED")]


@pytest.mark.parametrize("name", ["instruments/none.csv", "instruments/i.csv.part", "../i.csv"])
def test_what_does_not_wait_in_the_drop_folder_is_not_loaded(lake: FileLake, name: str) -> None:
    if "none" not in name:
        (lake.folder.root / name).write_text(csv_of(instrument("A")))
    result = run("load", name, "--settle-seconds", "0")
    assert isinstance(result.exception, cli.FileNotWaitingError)
    assert name in str(result.exception)


def test_a_file_that_is_still_written_to_is_not_loaded(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lake.put("i.csv", csv_of(instrument("A")))
    monkeypatch.setattr(cli.time, "sleep", lambda _seconds: lake.put("i.csv", "venue"))
    result = run("load", "instruments/i.csv")
    assert isinstance(result.exception, FileChangedError)
    assert path.exists()
    assert lake.verdicts() == []


def test_a_watch_serves_its_metrics(lake: FileLake, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[WSGIServer] = []

    def serve(port: int, *, host: str) -> None:
        served.append(serve_metrics(port, host=host))

    monkeypatch.setattr(cli, "serve_metrics", serve)
    assert run("watch", "--once", "--settle-seconds", "0").exit_code == 0
    assert not served
    run("watch", "--once", "--settle-seconds", "0", "--metrics-port", "0")
    (server,) = served
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as page:
            told = page.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    assert 'lakehouse_files_taken_total{dataset="trade_history",status="REFUSED"}' in told
    assert 'lakehouse_files_waiting{state="settling"} 0.0' in told


def test_without_tables_it_is_said_how_to_make_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "get_settings", lambda _role: settings)
    result = run("list")
    assert isinstance(result.exception, cli.NoTablesError)
    assert "lakehouse schemas apply" in str(result.exception)

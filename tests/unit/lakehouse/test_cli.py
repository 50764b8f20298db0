"""The command line: rooms come and go, and errors are written for people."""

import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from lakehouse import cli, rooms
from lakehouse.errors import LakehouseError
from lakehouse.settings import get_settings


class WrongOffsetError(LakehouseError):
    exit_code = 3


room = typer.Typer()
sub = typer.Typer()
room.add_typer(sub, name="letters")


@room.command("greet")
def greet() -> None:
    typer.echo("hello")


@sub.command("read")
def read() -> None:
    typer.echo("dear reader")


def entry_points(*, group: str) -> list[EntryPoint]:
    assert group == "lakehouse.commands"
    return [
        EntryPoint("demo", "no_such_module.cli:app", group),
        EntryPoint("ingestion", f"{__name__}:room", group),
        EntryPoint("speed", f"{__name__}:missing", group),
    ]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setattr(rooms, "entry_points", entry_points)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    return typer.Typer()


def test_a_rooms_verbs_stand_at_the_top_and_a_broken_room_breaks_no_other(
    root: typer.Typer,
) -> None:
    absent = rooms.load_rooms(root)
    assert absent.keys() == {"demo", "speed"}
    assert "no_such_module" in absent["demo"]
    run = CliRunner().invoke
    assert run(root, ["greet"]).output == "hello\n"
    assert run(root, ["letters", "read"]).output == "dear reader\n"
    assert "Ingestion" in run(root, ["--help"]).output


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int | str | None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["lakehouse", "status"])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    return exit_info.value.code


def test_an_error_for_people_has_no_traceback_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = fail_with(monkeypatch, WrongOffsetError("topic [t] ends at 5, not 7"))
    out, err = capsys.readouterr()
    assert (code, out) == (3, "")
    assert "WrongOffsetError: topic [t] ends at 5, not 7" in err.replace("\n", "")
    assert "Traceback" not in err


def test_ctrl_c_is_reported_as_shells_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail_with(monkeypatch, KeyboardInterrupt()) == 130


def test_a_wrong_setting_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAKEHOUSE_TOPIC_PARTITIONS", "many")
    monkeypatch.setattr(sys, "argv", ["lakehouse", "status"])
    get_settings.cache_clear()
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    get_settings.cache_clear()
    assert "LAKEHOUSE_TOPIC_PARTITIONS=many: Input should be a valid integer" in " ".join(
        capsys.readouterr().err.split()
    )


def test_only_names_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(cli.app, ["up", "--only", "kafka,zookeeper"])
    assert result.exit_code != 0
    assert "zookeeper" in str(result.exception)

"""The command: its exit code follows the oracle, and what it prints can be used."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo import cli, tour
from demo.oracle import Difference, Verdict
from demo.tour import Outcome
from lakehouse.settings import Settings, get_settings

EQUAL = Verdict(rows=2, values=4, differences=())
DIFFERENT = Verdict(rows=2, values=4, differences=(Difference(("BTCUSDT",), "open", 1, 2),))
FRESH = {"events": 3, "p50_seconds": 1, "p95_seconds": 2, "p99_seconds": 3, "max_seconds": 4}


def outcome(midway: Verdict | None = EQUAL, final: Verdict = EQUAL) -> Outcome:
    return Outcome(
        events=43249,
        confirmed=(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        rest=(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)),
        midway=midway,
        final={"serving.bars_1m": final, "serving.trades": EQUAL},
        bars={"RECONCILED": 24, "PROVISIONAL": 24},
        freshness={"warm_up_seconds": 5.0, "all": FRESH, "once_warm": None},
        picture=Path("bars.png"),
        seconds=100.0,
    )


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command on a tour that ends at once with a given outcome."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(settings.home))
    get_settings.cache_clear()

    def with_outcome(found: Outcome, *, as_json: bool = False) -> None:
        monkeypatch.setattr(tour.Tour, "run", lambda _: found)
        cli.demo(speed=10.0, keep_running=False, as_json=as_json)

    yield with_outcome
    get_settings.cache_clear()


def test_equal_everywhere_ends_well(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(outcome())
    said = capsys.readouterr().out
    assert "43,249 trades in 100 s" in said
    assert "bars.png" in said


@pytest.mark.parametrize(
    "found",
    [
        outcome(final=DIFFERENT),
        outcome(midway=DIFFERENT),
        outcome(midway=None),
        Outcome(midway=EQUAL),
    ],
    ids=["different at the end", "different midway", "midway not judged", "nothing judged"],
)
def test_anything_else_is_an_error(run: Any, found: Outcome) -> None:
    with pytest.raises(cli.NotEqualError) as raised:
        run(found)
    assert raised.value.exit_code == 3


def test_json_is_all_there_is_on_standard_output(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(cli.NotEqualError):
        run(outcome(final=DIFFERENT), as_json=True)
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["equal"] is False
    assert found["verdicts"]["serving.bars_1m"]["differences"] == [
        "BTCUSDT: open should be 1, is 2"
    ]
    assert found["verdict_midway"]["equal"] is True
    assert "Try next" in printed.err


def test_commands_are_printed_as_they_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAKEHOUSE_HOME", raising=False)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "lakehouse"), "demo"])
    commands = [command for command, _ in cli._next_commands(outcome(), keep_running=False)]
    assert {command.split()[0] for command in commands} == {".venv/bin/lakehouse"}
    verbs = [command.split()[1] for command in commands]
    assert verbs == ["sql", "batch", "reconcile", "up", "api", "status", "synth", "down"]
    monkeypatch.setenv("LAKEHOUSE_HOME", "elsewhere")
    kept = [command for command, _ in cli._next_commands(outcome(), keep_running=True)]
    assert all(command.startswith("LAKEHOUSE_HOME=elsewhere ") for command in kept)
    assert not any(" up" in command for command in kept)

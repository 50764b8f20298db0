"""What the check of the containers takes for healthy, and for agreement."""

from collections.abc import Sequence
from typing import Any

import pytest

from infra.compose.check import health_of
from infra.compose.engine import CheckFailedError, Engine
from infra.compose.processing import tell_of_verdicts
from infra.compose.record import Record


class EngineWithout(Engine):
    """No engine: it keeps what it was told to run, which fails if that is asked for."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.told: list[Sequence[str]] = []

    def compose(self, *words: str, seconds: float | None = None) -> str:
        self.told.append(words)
        if self.fails:
            raise CheckFailedError("wget: server returned error: HTTP/1.1 500")
        return ""


@pytest.mark.parametrize(
    ("service", "checked", "fails", "health"),
    [
        ("kafka", "healthy", True, "healthy"),
        ("kafka", "starting", False, "starting"),
        ("kafka", "", False, "not checked"),
        ("logs", "", False, "healthy"),
        ("logs", "", True, "unhealthy, as grafana finds"),
    ],
)
def test_a_container_is_as_it_was_checked_or_as_another_finds(
    service: str, checked: str, fails: bool, health: str
) -> None:
    engine = EngineWithout(fails=fails)
    assert health_of(engine, {"Service": service, "Health": checked}) == health
    assert [words[:3] for words in engine.told] == (
        [("exec", "--no-TTY", "grafana")] if service == "logs" else []
    )


class EngineThatAnswers(Engine):
    """No engine: its Trino has one answer."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def query(self, sql: str) -> list[dict[str, Any]]:
        return self.rows


def verdict(table: str, verdict: str, drifted: int = 0) -> dict[str, Any]:
    return {"table_name": table, "verdict": verdict, "times": 2, "drifted": drifted}


def test_layers_that_agree_are_told_of() -> None:
    seen = Record()
    tell_of_verdicts(EngineThatAnswers([verdict("silver.trades", "AGREE")]), seen)
    assert seen.lines == ["silver.trades: AGREE, 2 times, 0 rows drifted"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [verdict("silver.quotes", "AGREE")],
        [verdict("silver.trades", "AGREE"), verdict("gold.bars_1m", "DRIFT", 1)],
        [verdict("silver.trades", "AGREE"), verdict("silver.trades", "DRIFT", 1)],
    ],
    ids=["nothing", "no trades", "bars drift", "trades drift once"],
)
def test_layers_that_do_not_agree_fail_the_check(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(CheckFailedError, match="do not agree"):
        tell_of_verdicts(EngineThatAnswers(rows), Record())

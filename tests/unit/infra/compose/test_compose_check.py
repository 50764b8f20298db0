"""What the check of the containers takes for healthy."""

from collections.abc import Sequence

import pytest

from infra.compose.check import CheckFailedError, Engine, health_of


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

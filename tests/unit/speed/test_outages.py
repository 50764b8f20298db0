"""The speed layer's query when something that it needs is away."""

from threading import Event
from typing import Any

import pytest

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from speed import query
from speed.flows.trades import Trades


class Attempts:
    """Stands in for the query: fails as told, then ends well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failures: Exception) -> None:
        self.failures = list(failures)
        self.begun = 0
        monkeypatch.setattr(query, "start_query", self._start)
        monkeypatch.setattr(query, "wait", lambda *_, **__: None)
        monkeypatch.setattr(query, "FIRST_WAIT_SECONDS", 0.001)

    def _start(self, *_: Any, **__: Any) -> object:
        self.begun += 1
        if self.failures:
            raise self.failures.pop(0)
        return object()

    def run(self, settings: Settings, *, once: bool = False) -> None:
        query.run_query(
            lambda: None,  # type: ignore[arg-type, return-value]
            settings,
            None,  # type: ignore[arg-type]
            Trades(),
            once=once,
            stop=Event(),
            beat=lambda: None,
        )


def test_it_starts_again_until_what_was_away_is_back(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch, OSError("store"), RuntimeError("catalog"), OSError("log"))
    attempts.run(settings)
    assert attempts.begun == 4


def test_what_stays_away_is_told_in_the_end(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(query, "OUTAGE_SECONDS", 0.0)
    attempts = Attempts(monkeypatch, OSError("the store is gone"))
    with pytest.raises(OSError, match="the store is gone"):
        attempts.run(settings)


def test_our_own_decisions_and_a_run_that_somebody_watches_fail_at_once(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch, LakehouseError("another topic"))
    with pytest.raises(LakehouseError, match="another topic"):
        attempts.run(settings)
    attempts = Attempts(monkeypatch, OSError("store"))
    with pytest.raises(OSError, match="store"):
        attempts.run(settings, once=True)
    assert attempts.begun == 1


def test_a_repeated_batch_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch, RuntimeError(query.REPEATED_BATCH_FAULT))
    attempts.run(settings, once=True)
    assert attempts.begun == 2

"""The speed layer's query when something that it needs is away."""

from contextlib import nullcontext
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from lakehouse.errors import LakehouseError
from lakehouse.kafka import BrokerError
from lakehouse.settings import Settings
from speed import patience, query
from speed.flows.trades import Trades

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery


class Attempts:
    """Stands in for the query: fails as told, then ends well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failures: Exception) -> None:
        self.failures = list(failures)
        self.begun = 0
        self.isolating: list[bool] = []
        monkeypatch.setattr(query, "start_query", self._start)
        monkeypatch.setattr(query, "wait", lambda *_, **__: None)
        monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.001)

    def _start(self, *_: Any, isolation: object = None, **__: Any) -> object:
        self.begun += 1
        self.isolating.append(isolation is not None)
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
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0.0)
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


def test_a_broker_that_is_away_is_waited_for_once_it_has_been_there(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch, BrokerError("no answer"))
    with pytest.raises(BrokerError, match="no answer"):
        attempts.run(settings)

    attempts = Attempts(monkeypatch)

    def store_then_broker(*_: Any, **__: Any) -> None:
        if attempts.begun == 1:
            attempts.failures = [BrokerError("no answer")]
            raise OSError("store")

    monkeypatch.setattr(query, "wait", store_then_broker)
    attempts.run(settings)
    assert attempts.begun == 3


def test_it_starts_again_without_what_batch_has_set_aside(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch)
    monkeypatch.setattr(query, "wait", lambda *_, **__: attempts.begun == 1)
    attempts.run(settings)
    assert attempts.begun == 2


class Idle:
    """Stands in for a query that has nothing to do."""

    status: ClassVar[dict[str, str]] = {"message": "Waiting for data to arrive"}
    lastProgress = None  # noqa: N815 - PySpark's name
    stopped = 0

    def awaitTermination(self, _seconds: float) -> bool:  # noqa: N802 - PySpark's name
        return False

    def stop(self) -> None:
        self.stopped += 1


@pytest.mark.parametrize("fails", [False, True])
def test_the_query_is_over_when_another_is_to_begin(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(query, "POISON_EVERY_SECONDS", 0.0)

    def asks_to_restart() -> bool:
        if fails:
            raise OSError("catalog")
        return True

    idle = Idle()
    with pytest.raises(OSError, match="catalog") if fails else nullcontext():
        assert query.wait(
            cast("StreamingQuery", idle),
            Trades(),
            Event(),
            beat=lambda: None,
            upkeep=lambda: None,
            asks_to_restart=asks_to_restart,
        )
    assert idle.stopped == 1


def test_a_repeated_batch_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch, RuntimeError(query.REPEATED_BATCH_FAULT))
    attempts.run(settings, once=True)
    assert attempts.begun == 2


OVERFLOW = RuntimeError(
    "Job aborted due to stage failure: ... [ARITHMETIC_OVERFLOW] Overflow in sum of decimals. "
    'If necessary set "spark.sql.ansi.enabled" to "false". SQLSTATE: 22003'
)


@pytest.mark.parametrize("once", [False, True])
def test_what_the_data_are_to_blame_for_is_tried_three_times_then_isolated(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, once: bool
) -> None:
    attempts = Attempts(monkeypatch, OVERFLOW, OVERFLOW, OVERFLOW)
    attempts.run(settings, once=once)
    # To isolate goes to the end of the log; who runs on then does so as ever.
    assert attempts.isolating == [False, False, False, True] + [False] * (not once)


def test_an_outage_between_takes_no_attempt_away(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch, OVERFLOW, OSError("store"), OVERFLOW, OVERFLOW, OSError("log"))
    attempts.run(settings)
    assert attempts.isolating == [False] * 4 + [True, True, False]


def test_what_cannot_be_isolated_ends_it(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    attempts = Attempts(monkeypatch, *[OVERFLOW] * 4)
    with pytest.raises(RuntimeError, match="ARITHMETIC_OVERFLOW"):
        attempts.run(settings)

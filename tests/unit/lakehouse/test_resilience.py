"""What is tried again, and when it is given up."""

import time

import pytest

from lakehouse.resilience import retrying


class Flaky:
    """Fails a number of times before it answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls, self.failures, self.error = 0, failures, error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "answer"


def test_what_may_pass_is_tried_again() -> None:
    ask = Flaky(3, ConnectionError("refused"))
    answer = retrying(on=ConnectionError, budget_seconds=30, first_wait_seconds=0.001)(ask)()
    assert (answer, ask.calls) == ("answer", 4)


def test_any_other_error_is_raised_at_once() -> None:
    ask = Flaky(1, ValueError("will never pass"))
    with pytest.raises(ValueError, match="will never pass"):
        retrying(on=(ConnectionError, TimeoutError), budget_seconds=30)(ask)()
    assert ask.calls == 1


def test_the_last_error_itself_is_raised_within_the_budget() -> None:
    ask = Flaky(10**9, ConnectionError("refused"))
    begun = time.monotonic()
    with pytest.raises(ConnectionError, match="refused"):
        retrying(on=ConnectionError, budget_seconds=0.3, first_wait_seconds=0.01)(ask)()
    assert ask.calls > 1
    assert time.monotonic() - begun < 2, "waits must not be begun that end after the budget"

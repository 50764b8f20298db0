"""One policy for calls over a network: exponential backoff, full jitter, a time budget.

Full jitter (a wait drawn evenly from nothing up to the backoff) keeps many clients from coming
back at the same moment: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog
from tenacity import (
    RetryCallState,
    retry,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

P = ParamSpec("P")
T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.1
# Longer waits only delay the recovery; shorter ones at the plateau would be load for the ailing.
LONGEST_WAIT_SECONDS = 10.0

_log = structlog.get_logger(__name__)


def retrying(
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    budget_seconds: float,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that calls again what failed in a way that may pass.

    >>> @retrying(on=ConnectionError, budget_seconds=5)
    ... def ask() -> str:
    ...     return "answer"
    >>> ask()
    'answer'

    Args:
        on: The errors that are worth another try; any other is raised at once.
        budget_seconds: No try is begun, nor waited for, beyond this time from the first.
        first_wait_seconds: Upper bound of the first wait; it doubles with every try.

    Raises:
        Exception: The last error itself, when the budget is used up.
    """
    return retry(
        retry=retry_if_exception_type(on),
        wait=wait_random_exponential(multiplier=first_wait_seconds, max=LONGEST_WAIT_SECONDS),
        stop=stop_before_delay(budget_seconds),
        before_sleep=_tell,
        reraise=True,
    )


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning(
        "retrying",
        call=getattr(state.fn, "__qualname__", repr(state.fn)),
        attempt=state.attempt_number,
        wait_seconds=round(state.upcoming_sleep, 3),
        error=f"{type(error).__name__}: {error}".partition("\n")[0],
    )

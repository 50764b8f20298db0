"""One policy for everything that may be away for a while: Kafka, the catalog, the store."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from ingestion.lander import metrics
from lakehouse.errors import LakehouseError

# What stays away longer than this is for the operator, or the supervisor that restarts us.
BUDGET_SECONDS = 900.0
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0

log = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class UnavailableError(LakehouseError):
    """Something that the lander needs stayed away for longer than the retry budget."""


def persist(what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call until it succeeds, with full jitter, within the budget.

    Any failure is tried again, whatever its type: how catalogs and stores fail is theirs to
    choose. Our own errors are decisions and pass through at once.

    Raises:
        UnavailableError: The budget is used up; the last failure is its cause.
    """

    def note(state: RetryCallState) -> None:
        metrics.RETRIES.labels(operation=what).inc()
        error = state.outcome.exception() if state.outcome else None
        log.warning("retrying", operation=what, attempt=state.attempt_number, error=repr(error))

    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
        stop=stop_after_delay(BUDGET_SECONDS),
        before_sleep=note,
        reraise=True,
    )
    try:
        return retrying(call, *args, **kwargs)
    except LakehouseError:
        raise
    except Exception as error:
        raise UnavailableError(
            f"cannot {what}, tried for {BUDGET_SECONDS:.0f} s: {error!r}. Nothing was lost: what "
            "was not committed is read again by the next start."
        ) from error


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, LakehouseError)

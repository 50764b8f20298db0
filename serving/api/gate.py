"""The one way to the SQL engine: a bulkhead, a circuit breaker, a deadline."""

import math
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import structlog
from anyio import CapacityLimiter, fail_after, to_thread
from circuitbreaker import CircuitBreaker

from lakehouse.errors import first_line
from serving.api import metrics, problems
from serving.api.deadlines import Deadline, exceeded
from serving.api.problems import ProblemError
from serving.engine import TimeIsUpError
from serving.engines import Engine
from serving.history import HistoryError

T = TypeVar("T")

# One that waits longer would hardly be answered within its deadline.
MOST_WAITING = 64
FAILURES_TO_OPEN = 5
# A server that restarts takes longer; a trial costs one request.
OPEN_SECONDS = 5.0
# A question without content is answered by then.
ANSWER_SECONDS = 4.0
# How long the engine's own deadline may take to be heard of before the request goes without it.
GRACE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class EngineDownError(ProblemError):
    """The engine does not answer, or has failed so often that it is not asked for a while."""


class Gate:
    """Lets so many at the engine at once, so many wait, and nobody while it is down."""

    def __init__(
        self,
        engine: Engine,
        *,
        at_once: int,
        most_waiting: int = MOST_WAITING,
        open_seconds: float = OPEN_SECONDS,
    ) -> None:
        """Guard an engine.

        Args:
            engine: One that threads may share.
            at_once: How many may be at it.
            most_waiting: How many more may wait for that.
            open_seconds: How long nobody is let through after it has failed too often.
        """
        self._engine = engine
        self._most_waiting = most_waiting
        self._seats = CapacityLimiter(at_once)
        self._breaker = CircuitBreaker(
            failure_threshold=FAILURES_TO_OPEN,
            recovery_timeout=open_seconds,
            expected_exception=lambda _, error: not isinstance(error, HistoryError),
            name="engine",
        )

    async def run(self, work: Callable[[Engine, Deadline], T], deadline: Deadline) -> T:
        """Do something with the engine, in a thread.

        Args:
            work: Is given the engine, and the deadline to pass on to it.
            deadline: When nobody waits for it any more.

        Raises:
            EngineDownError: The engine does not answer, or has failed too often of late.
            ProblemError: Too many wait already, or the deadline has passed.
            HistoryError: What was asked for lies outside of the lake's history.
        """
        self._refuse_if_open()
        if self._seats.statistics().tasks_waiting >= self._most_waiting:
            metrics.REFUSED.labels("bulkhead").inc()
            raise ProblemError(
                problems.OVERLOADED,
                f"{self._most_waiting} queries wait for the engine already: come again",
                headers={"Retry-After": "1"},
            )
        try:
            with fail_after(deadline.left() + GRACE_SECONDS):
                return await to_thread.run_sync(
                    partial(self._at_engine, work, deadline),
                    limiter=self._seats,
                    abandon_on_cancel=True,
                )
        except (TimeoutError, TimeIsUpError) as error:
            metrics.REFUSED.labels("deadline").inc()
            raise exceeded() from error

    async def check(self) -> None:
        """See to it that the engine answers; one that is at work up to its limit does.

        Raises:
            LakehouseError: It does not.
        """
        if self._seats.available_tokens >= 1 or self._breaker.opened:
            await self.run(_ask_nothing, Deadline.after(ANSWER_SECONDS))

    def _refuse_if_open(self) -> None:
        if self._breaker.opened:
            metrics.REFUSED.labels("breaker").inc()
            wait = max(1, math.ceil(self._breaker.open_remaining))
            raise EngineDownError(
                problems.UNAVAILABLE,
                f"the SQL engine has failed {FAILURES_TO_OPEN} times in a row, and is asked again "
                f"in {wait} s",
                headers={"Retry-After": str(wait)},
            )

    def _at_engine(self, work: Callable[[Engine, Deadline], T], deadline: Deadline) -> T:
        deadline.left()  # it may have passed while others were at the engine
        outcome: Future[T] = Future()
        with metrics.ENGINE_SECONDS.time():
            try:
                outcome.set_result(work(self._engine, deadline))
            except Exception as raised:  # whatever an engine, a catalog or a store may raise
                outcome.set_exception(raised)
        error = outcome.exception()
        if isinstance(error, TimeIsUpError | ProblemError) and deadline.is_the_clients:
            raise error  # a client in a hurry says nothing about the engine
        try:
            with self._breaker:
                return outcome.result()
        except (HistoryError, TimeIsUpError, ProblemError):
            raise
        except Exception as failure:
            _log.warning("the engine failed", error=first_line(failure))
            raise EngineDownError(
                problems.UNAVAILABLE,
                f"the SQL engine does not answer as it should: {first_line(failure)}",
                headers={"Retry-After": "1"},
            ) from failure


def _ask_nothing(engine: Engine, deadline: Deadline) -> None:
    engine.query("SELECT 1", timeout_seconds=deadline.left())

"""The one way to the SQL engine: a bulkhead, a circuit breaker, a deadline."""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog
from circuitbreaker import CircuitBreaker

from lakehouse.errors import first_line
from serving.api import metrics, problems
from serving.api.deadlines import Deadline, DeadlineExceededError
from serving.api.problems import ProblemError
from serving.api.seats import MOST_WAITING, Seats
from serving.engine import TimeIsUpError
from serving.engines import Engine
from serving.history import HistoryError

T = TypeVar("T")

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
        self._seats = Seats(at_once, what="SQL engine", most_waiting=most_waiting)
        self._breaker = CircuitBreaker(
            failure_threshold=FAILURES_TO_OPEN, recovery_timeout=open_seconds, name="engine"
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
        at_engine = partial(self._at_engine, work, deadline)
        try:
            found = await self._seats.run(at_engine, deadline.left() + GRACE_SECONDS)
        except (TimeoutError, TimeIsUpError, DeadlineExceededError) as error:
            metrics.REFUSED.labels("deadline").inc()
            if not deadline.is_the_clients:  # one in a hurry says nothing about the engine
                self._count(error)
            raise DeadlineExceededError from error
        except (HistoryError, ProblemError):
            raise
        except Exception as failure:  # whatever an engine, a catalog or a store may raise
            self._count(failure)
            # What it says may name hosts and files, which are none of a client's business.
            _log.warning("the engine failed", error=first_line(failure))
            raise EngineDownError(
                problems.UNAVAILABLE,
                "the SQL engine does not answer as it should; the API's log tells why",
                headers={"Retry-After": "1"},
            ) from failure
        self._count(None)
        return found

    async def check(self) -> None:
        """See to it that the engine answers; one that is at work up to its limit does.

        Raises:
            LakehouseError: It does not.
        """
        if self._seats.are_lost:
            said = "all that the SQL engine was asked is past its deadline, and has not ended"
            raise EngineDownError(problems.UNAVAILABLE, said)
        if not self._seats.are_taken or self._breaker.opened:
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

    def _count(self, failure: Exception | None) -> None:
        """Tell the breaker that the engine has failed, or has answered."""
        with suppress(Exception), self._breaker:
            if failure is not None:
                raise failure

    def _at_engine(self, work: Callable[[Engine, Deadline], T], deadline: Deadline) -> T:
        deadline.left()  # it may have passed while others were at the engine
        with metrics.ENGINE_SECONDS.time():
            return work(self._engine, deadline)


def _ask_nothing(engine: Engine, deadline: Deadline) -> None:
    engine.query("SELECT 1", timeout_seconds=deadline.left())

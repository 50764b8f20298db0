"""Threads for work that may hang: so many at a time, and a seat is free when its work has ended.

Whoever waits for an answer may give up; the thread that looks for it may not. So a seat is the
thread itself: what hangs keeps its own seat, and others never make it more threads than there are.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from anyio import fail_after

from serving.api import metrics, problems
from serving.api.problems import ProblemError

T = TypeVar("T")

# One that waits longer would hardly be answered within its deadline.
MOST_WAITING = 64


class Seats:
    """Lets so many work at once, and so many wait for that.

    Args:
        at_once: How many threads.
        what: What they work at, as a refusal calls it.
        most_waiting: How many more may wait.
    """

    def __init__(self, at_once: int, *, what: str, most_waiting: int = MOST_WAITING) -> None:
        self._at_once = at_once
        self._what = what
        self._most_waiting = most_waiting
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=what)
        self._waited_for = 0
        self._overdue: set[Future[Any]] = set()

    @property
    def are_taken(self) -> bool:
        """Whether one who comes now has to wait."""
        return self._waited_for + len(self._overdue) >= self._at_once

    @property
    def are_lost(self) -> bool:
        """Whether all are taken by work that nobody waits for any more."""
        return len(self._overdue) >= self._at_once

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """Do something in a thread, in this context.

        Args:
            work: What is done; where nobody waits for it any more, it is not begun.
            seconds: How long it is waited for, the wait for a seat included.

        Raises:
            TimeoutError: It was not done by then. Its seat is taken until it is.
            ProblemError: Too many wait already.
        """
        if self._waited_for >= self._at_once + self._most_waiting:
            metrics.REFUSED.labels("bulkhead").inc()
            said = f"{self._most_waiting} wait for the {self._what} already: come again"
            raise ProblemError(problems.OVERLOADED, said, headers={"Retry-After": "1"})
        done = self._threads.submit(copy_context().run, work)
        self._waited_for += 1
        try:
            with fail_after(seconds):
                return await asyncio.wrap_future(done)
        finally:
            self._waited_for -= 1
            self._overdue.add(done)
            done.add_done_callback(self._overdue.discard)  # at once, where it is done

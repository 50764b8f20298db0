"""Answers that are kept for a moment: made once for all who ask at the same time.

They are kept for longer than they are given out for, as something to show while the engine is down.
"""

import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakValueDictionary

from anyio import Lock, fail_after
from cachetools import LRUCache

from serving.api import metrics
from serving.api.answers import Answer
from serving.api.deadlines import Deadline, exceeded

MOST_BYTES = 64 << 20
# A row of text and Python objects around an answer without rows.
_LEAST_BYTES = 1_000
# Older than this, an answer is worse than none.
LONGEST_SECONDS = 600.0


class _Kept(NamedTuple):
    answer: Answer
    made_at: float


class AnswerCache:
    """Keeps the answers used last, up to so many bytes.

    Args:
        clock: Seconds, which never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: LRUCache[Hashable, _Kept] = LRUCache(
            MOST_BYTES, getsizeof=lambda kept: kept.answer.rows.nbytes + _LEAST_BYTES
        )
        self._making: WeakValueDictionary[Hashable, Lock] = WeakValueDictionary()

    async def get(
        self,
        key: Hashable,
        make: Callable[[], Awaitable[Answer]],
        *,
        seconds: float,
        deadline: Deadline,
    ) -> Answer:
        """Return an answer that is not older than some seconds, made if there is none.

        Args:
            key: Of the question.
            make: Answers it; called by one at a time, the others wait for what it says.
            seconds: How long an answer is good.
            deadline: When this one waits no longer.

        Raises:
            ProblemError: The deadline has passed; or what ``make`` raises.
        """
        if found := self.kept(key, seconds=seconds):
            metrics.CACHE.labels("hit").inc()
            return found
        lock = self._making.setdefault(key, Lock())
        try:
            with fail_after(deadline.left()):
                await lock.acquire()
        except TimeoutError as error:
            raise exceeded() from error
        try:
            if found := self.kept(key, seconds=seconds):
                metrics.CACHE.labels("waited").inc()
                return found
            metrics.CACHE.labels("miss").inc()
            answer = await make()
            if answer.rows.nbytes + _LEAST_BYTES <= MOST_BYTES:
                self._kept[key] = _Kept(answer, self._clock())
            return answer
        finally:
            lock.release()

    def kept(self, key: Hashable, *, seconds: float = LONGEST_SECONDS) -> Answer | None:
        """Return an answer that was made at most some seconds ago, with its age; None if none."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._clock() - kept.made_at
        return None if age > seconds else aged(kept.answer, age)


def aged(answer: Answer, seconds: float) -> Answer:
    """Return an answer as it is some seconds after it was made."""
    fresh = answer.meta.freshness_seconds
    grown = None if fresh is None else round(fresh + seconds, 3)
    meta = answer.meta.model_copy(update={"freshness_seconds": grown})
    return replace(answer, meta=meta, age_seconds=seconds)

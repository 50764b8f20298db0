"""Answers that are kept for a moment: made once for all who ask at the same time.

They are kept for longer than they are given out for, as something to show while the engine is down.
"""

import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from weakref import WeakValueDictionary

from anyio import Lock, fail_after
from cachetools import LRUCache

from serving.api import metrics
from serving.api.answers import AGES, Answer
from serving.api.deadlines import Deadline, DeadlineExceededError

MOST_BYTES = 64 << 20
# A row of text and Python objects around an answer without rows.
_LEAST_BYTES = 1_000
# Older than this, an answer is worse than none.
LONGEST_SECONDS = 600.0


class _Kept(NamedTuple):
    answer: Answer
    made_at: float


@dataclass
class _Making:
    """An answer that is being made: the lock of who makes it, and when that last failed and why."""

    lock: Lock = field(default_factory=Lock)
    failure: Exception | None = None
    failed_at: float = 0.0


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
        self._making: WeakValueDictionary[Hashable, _Making] = WeakValueDictionary()

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
            make: Answers it; called by one at a time. The others wait for what it says, or for
                why it says nothing.
            seconds: How long an answer is good.
            deadline: When this one waits no longer.

        Raises:
            DeadlineExceededError: It has passed.
            Exception: What ``make`` raises.
        """
        if found := self.kept(key, seconds=seconds):
            metrics.CACHE.labels("hit").inc()
            return found
        making, began = self._making.setdefault(key, _Making()), self._clock()
        try:
            with fail_after(deadline.left()):
                await making.lock.acquire()
        except TimeoutError as error:
            raise DeadlineExceededError from error
        try:
            if found := self.kept(key, seconds=seconds):
                metrics.CACHE.labels("waited").inc()
                return found
            if making.failure is not None and making.failed_at >= began:
                metrics.CACHE.labels("waited").inc()
                raise making.failure
            metrics.CACHE.labels("miss").inc()
            return await self._made(key, make, making)
        finally:
            making.lock.release()

    async def _made(
        self, key: Hashable, make: Callable[[], Awaitable[Answer]], making: _Making
    ) -> Answer:
        try:
            answer = await make()
        except DeadlineExceededError:
            raise  # that of who has asked; the others may have more time
        except Exception as error:
            making.failure, making.failed_at = error, self._clock()
            raise
        if answer.rows.nbytes + _LEAST_BYTES <= MOST_BYTES:
            self._kept[key] = _Kept(answer, self._clock())
        return answer

    def kept(self, key: Hashable, *, seconds: float = LONGEST_SECONDS) -> Answer | None:
        """Return an answer that was made at most some seconds ago, with its age; None if none."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._clock() - kept.made_at
        return None if age > seconds else aged(kept.answer, age)


def aged(answer: Answer, seconds: float) -> Answer:
    """Return an answer as it is some seconds after it was made."""
    ages = {name: getattr(answer.meta, name) for name in AGES}
    grown = {name: round(age + seconds, 3) for name, age in ages.items() if age is not None}
    return replace(answer, meta=answer.meta.model_copy(update=grown), age_seconds=seconds)

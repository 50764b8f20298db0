"""Who asks the same at the same time gets one answer, or one reason why there is none."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from anyio import Event, create_task_group, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from serving.api import problems
from serving.api.answers import Answer, Meta
from serving.api.cache import AnswerCache, aged
from serving.api.deadlines import Deadline, DeadlineExceededError
from serving.api.gate import EngineDownError

pytestmark = [pytest.mark.serving, pytest.mark.anyio]

MANY = 20
META = Meta(tier=None, as_of=None, freshness_seconds=None, offsets={}, status={})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Asked:
    """A question that many ask; it is answered, or not, when all of them wait."""

    def __init__(self, answers: Callable[[int], Awaitable[Answer]]) -> None:
        self.made = 0
        self.outcomes: list[Any] = []
        self._answers = answers
        self._all_wait = Event()

    async def by_many(self) -> None:
        cache = AnswerCache()
        async with create_task_group() as tasks:
            for _ in range(MANY):
                tasks.start_soon(self._ask, cache)
            await wait_all_tasks_blocked()
            self._all_wait.set()

    async def _ask(self, cache: AnswerCache) -> None:
        try:
            found = await cache.get("key", self._make, seconds=60, deadline=Deadline.after(60))
            self.outcomes.append(found.meta)
        except (EngineDownError, DeadlineExceededError) as error:
            self.outcomes.append(type(error))

    async def _make(self) -> Answer:
        self.made += 1
        await self._all_wait.wait()
        return await self._answers(self.made)


async def answered(_: int) -> Answer:
    await checkpoint()
    return Answer(pa.table({"n": [1]}), None, META)


async def test_many_who_ask_the_same_are_one_question() -> None:
    asked = Asked(answered)
    await asked.by_many()
    assert (asked.made, asked.outcomes) == (1, [META] * MANY)


async def test_an_engine_that_fails_is_asked_once_for_all_who_wait() -> None:
    async def fail(_: int) -> Answer:
        await checkpoint()
        raise EngineDownError(problems.UNAVAILABLE, "it is gone")

    asked = Asked(fail)
    await asked.by_many()
    assert (asked.made, asked.outcomes) == (1, [EngineDownError] * MANY)


async def test_who_was_in_a_hurry_fails_alone() -> None:
    async def too_late_at_first(made: int) -> Answer:
        if made == 1:
            raise DeadlineExceededError
        return await answered(made)

    asked = Asked(too_late_at_first)
    await asked.by_many()
    assert (asked.made, asked.outcomes) == (2, [DeadlineExceededError] + [META] * (MANY - 1))


async def test_what_an_answer_says_of_its_age_grows_while_it_is_kept() -> None:
    fresh = await answered(1)
    known = META.model_copy(update={"freshness_seconds": 7200.0, "seconds_since_commit": 1.5})
    older = aged(replace(fresh, meta=known), 10.25)
    assert older.age_seconds == 10.25
    assert (older.meta.freshness_seconds, older.meta.seconds_since_commit) == (7210.25, 11.75)
    assert aged(fresh, 10.25).meta == META

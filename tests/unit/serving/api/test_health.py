"""Readiness tells of what lasts, and of nothing that passes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.api.health import BAD_IN_A_ROW, GOOD_IN_A_ROW, Condition, Health

pytestmark = pytest.mark.serving


def after(answers: str) -> list[bool]:
    """What is thought after each of some answers, + and -."""
    condition, thought = Condition(), []
    for answer in answers:
        condition.take(None if answer == "+" else "away")
        thought.append(condition.is_well)
    return thought


def test_the_first_answer_counts() -> None:
    assert after("+") == [True]
    assert after("-") == [False]


def test_it_takes_three_bad_answers_and_two_good_ones() -> None:
    assert after("+--+---") == [True, True, True, True, True, True, False]
    assert after("-+-++-") == [False, False, False, False, True, True]


@given(st.text("+-", min_size=1, max_size=60))
def test_it_never_changes_back_at_once(answers: str) -> None:
    thought = after(answers)
    changes = [n for n in range(1, len(thought)) if thought[n] != thought[n - 1]]
    for at in changes:
        needed = BAD_IN_A_ROW if thought[at - 1] else GOOD_IN_A_ROW
        mark = "-" if thought[at - 1] else "+"
        assert answers[at - needed + 1 : at + 1] == mark * needed


class Dependency:
    is_there = True

    async def __call__(self) -> None:
        if not self.is_there:
            raise ConnectionError("refused")


def test_one_of_the_useful_suffices_and_each_of_the_needed_is_needed() -> None:
    keys, engine, live = Dependency(), Dependency(), Dependency()
    health = Health(needed={"keys": keys}, useful={"engine": engine, "live": live})

    def look(times: int = BAD_IN_A_ROW) -> bool:
        for _ in range(times):
            asyncio.run(health.look())
        return health.is_ready()

    assert not health.is_ready()
    assert look(1)
    engine.is_there = False
    assert look()
    assert health.told() == {"keys": "ok", "engine": "away", "live": "ok"}
    live.is_there = False
    assert not look()
    engine.is_there = True
    assert look(GOOD_IN_A_ROW)
    keys.is_there = False
    assert look(BAD_IN_A_ROW - 1)
    assert not look(1)


def test_the_answers_over_http(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "alive", "checks": {}}
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert answer.json()["checks"]["engine"] == "ok"
    assert answer.json()["checks"]["live"] == "away"
    assert "lakehouse_api_ready 1.0" in client.get("/metrics").text

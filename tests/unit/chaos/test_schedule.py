"""The schedule of faults: a function of its seed, with all kinds in every round."""

from collections import Counter

import pytest
from chaos.schedule import CLOCKS, KILLS, ROUND, STEPS_BACK, Kind, schedule


def test_the_seed_gives_the_schedule_again() -> None:
    assert schedule(7, 50) == schedule(7, 50)
    assert schedule(7, 50) != schedule(8, 50)


def test_a_longer_schedule_begins_like_a_shorter_one() -> None:
    assert schedule(3, 100)[:30] == schedule(3, 30)


@pytest.mark.parametrize("seed", range(5))
def test_every_round_has_every_kind(seed: int) -> None:
    plan = schedule(seed, 3 * len(ROUND))
    for start in range(0, len(plan), len(ROUND)):
        assert Counter(one.kind for one in plan[start : start + len(ROUND)]) == Counter(ROUND)
    assert [one.number for one in plan] == list(range(1, len(plan) + 1))


def test_rounds_are_not_alike() -> None:
    plan = schedule(1, 2 * len(ROUND))
    first, second = plan[: len(ROUND)], plan[len(ROUND) :]
    assert [one.kind for one in first] != [one.kind for one in second]


def test_a_machine_without_a_kind_of_fault_has_a_schedule_of_the_others() -> None:
    plan = schedule(1, 40, [kind for kind in Kind if kind is not Kind.DISK])
    assert len(plan) == 40
    assert {one.kind for one in plan} == set(Kind) - {Kind.DISK}


def test_only_what_is_killed_is_killed_again_and_only_clocks_step() -> None:
    plan = schedule(2, 400)
    stillborn = {one.kind for one in plan if one.stillborn_seconds is not None}
    assert stillborn == KILLS
    assert {one.step_seconds for one in plan if one.kind is Kind.CLOCK} == set(STEPS_BACK)
    assert {one.step_seconds for one in plan if one.kind is not Kind.CLOCK} == {0.0}


@pytest.mark.parametrize("seed", range(3))
def test_every_clock_has_its_turn(seed: int) -> None:
    plan = schedule(seed, len(CLOCKS) * len(ROUND))
    stepped = [one.clock for one in plan if one.kind is Kind.CLOCK]
    assert sorted(map(str, stepped)) == sorted(CLOCKS)
    assert {one.clock for one in plan if one.kind is not Kind.CLOCK} == {None}
    assert {one.job for one in plan} == {None, "batch", "maintain"}


def test_a_fault_says_what_it_does() -> None:
    said = "\n".join(map(str, schedule(2, 40)))
    assert "clock steps back by" in said
    assert "catalog refuses commits, for" in said
    assert "lander killed, the next one" in said

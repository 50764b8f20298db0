"""A saga is gone on with at the step it was at, or goes all the way back."""

import pytest

from lakehouse.saga import Outcome, SagaRefusedError, Step, Unrecorded, carry_out

pytestmark = pytest.mark.serving

DONE, FAILED, REFUSED, UNDONE = Outcome.DONE, Outcome.FAILED, Outcome.REFUSED, Outcome.UNDONE


class NeverError(Exception):
    """It will not work another time either."""


class World:
    """What the steps do, and what goes wrong."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.trouble: dict[str, Exception] = {}
        self.journal = Unrecorded()

    def step(self, name: str, *, can_be_undone: bool = False, is_pivot: bool = False) -> Step:
        undo = f"undo {name}" if can_be_undone else None
        return Step(name, lambda: self.do(name), undo and (lambda: self.do(undo)), is_pivot)

    def do(self, name: str) -> None:
        if name in self.trouble:
            raise self.trouble[name]
        self.done.append(name)

    def carry_out(self) -> None:
        steps = [
            self.step("reserve", can_be_undone=True),
            self.step("ask", can_be_undone=True),
            self.step("commit", is_pivot=True),
            self.step("tell"),
        ]
        carry_out(steps, self.journal, refusals=NeverError)


@pytest.fixture
def world() -> World:
    return World()


def test_all_steps_once(world: World) -> None:
    world.carry_out()
    world.carry_out()
    assert world.done == ["reserve", "ask", "commit", "tell"]


@pytest.mark.parametrize("step", ["reserve", "ask", "commit", "tell"])
def test_what_failed_is_gone_on_with(world: World, step: str) -> None:
    world.trouble[step] = OSError("away")
    with pytest.raises(OSError, match="away"):
        world.carry_out()
    assert world.journal.outcomes()[step] is FAILED
    world.trouble.clear()
    world.carry_out()
    assert world.done == ["reserve", "ask", "commit", "tell"]


def test_what_is_refused_up_to_the_pivot_is_undone_in_reverse(world: World) -> None:
    world.trouble["commit"] = NeverError()
    with pytest.raises(NeverError):
        world.carry_out()
    assert world.done == ["reserve", "ask", "undo ask", "undo reserve"]
    world.trouble.clear()
    with pytest.raises(SagaRefusedError):
        world.carry_out()
    assert world.done[4:] == [], "neither is done nor undone once more"


def test_undoing_is_gone_on_with_too(world: World) -> None:
    world.trouble = {"commit": NeverError(), "undo reserve": OSError("away")}
    with pytest.raises(OSError, match="away"):
        world.carry_out()
    world.trouble.clear()
    with pytest.raises(SagaRefusedError):
        world.carry_out()
    assert world.done == ["reserve", "ask", "undo ask", "undo reserve"]


def test_after_the_pivot_nothing_is_undone(world: World) -> None:
    world.trouble["tell"] = NeverError()
    with pytest.raises(NeverError):
        world.carry_out()
    assert world.journal.outcomes()["tell"] is FAILED
    world.trouble.clear()
    world.carry_out()
    assert world.done == ["reserve", "ask", "commit", "tell"]

"""The start order: what waits for what, what is taken back, what may be named."""

import sys
from collections.abc import Iterator

import pytest

from lakehouse.components import Component, ComponentError, Launch, bring_up, selected
from lakehouse.processes import ProcessError, Supervisor
from lakehouse.settings import Settings

SLEEPING = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def supervisor(settings: Settings) -> Iterator[Supervisor]:
    found = Supervisor(settings.home)
    yield found
    for record in found.records():
        found.stop(record.name, grace_seconds=0)


def server(name: str, *after: str, **options: object) -> Component:
    return Component(name, after=after, launch=lambda: Launch(SLEEPING), **options)  # type: ignore[arg-type]


def running(supervisor: Supervisor) -> set[str]:
    return {record.name for record in supervisor.records() if record.alive}


def test_a_component_starts_when_what_it_comes_after_is_provisioned(
    supervisor: Supervisor,
) -> None:
    told: list[str] = []
    made: list[str] = []
    asked = iter(["starting", "starting", "ready"])
    slow = server(
        "slow",
        health=lambda: next(asked),
        provision=lambda: made.append("users"),
        provides="users",
    )
    task = Component("task", after=("slow",), provision=lambda: made.append("tables"))
    bring_up([slow, task, server("last", "task"), server("apart")], supervisor, told.append)
    assert made == ["users", "tables"]
    assert told == ["starting slow", "starting apart", "making users", "starting last"]
    assert running(supervisor) == {"slow", "last", "apart"}


def test_what_runs_is_not_started_again_but_provisioned(supervisor: Supervisor) -> None:
    made: list[str] = []
    first = server("first", provision=lambda: made.append("topics"))
    bring_up([first], supervisor, lambda _: None)
    pid = supervisor.records()[0].pid
    bring_up([first], supervisor, lambda _: None)
    assert supervisor.records()[0].pid == pid
    assert made == ["topics", "topics"]


def test_one_that_is_not_ready_in_time_takes_the_others_with_it(supervisor: Supervisor) -> None:
    never = server("never", health=lambda: "starting", deadline_seconds=0.2)
    with pytest.raises(ProcessError, match="never was not ready in time"):
        bring_up([server("first"), never], supervisor, lambda _: None)
    assert running(supervisor) == set()


def test_a_failed_provision_stops_what_was_started_only(supervisor: Supervisor) -> None:
    bring_up([server("before")], supervisor, lambda _: None)

    def refuse() -> None:
        raise ComponentError("no users can be made")

    with pytest.raises(ComponentError, match="no users"):
        bring_up([server("before"), server("next", provision=refuse)], supervisor, lambda _: None)
    assert running(supervisor) == {"before"}


def test_named_components_come_with_all_that_they_need() -> None:
    known = [
        server("a"),
        Component("task", after=("a",)),
        server("b", "task", "elsewhere"),
        server("c"),
    ]
    assert [component.name for component in selected(known, ["b"])] == ["a", "task", "b"]
    with pytest.raises(ComponentError, match="zookeeper: choose from a, b, c"):
        selected(known, ["zookeeper"])

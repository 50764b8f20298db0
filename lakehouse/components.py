"""Bring up a set of components in the order of their dependencies, and take back what fails.

A component is a server, one of our own long-running verbs, or a task such as making the tables.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import SIG_IGN, SIGINT, SIGTERM, signal

from lakehouse.errors import LakehouseError
from lakehouse.processes import ProcessRecord, Supervisor

READY = "ready"
NOT_ANSWERING = "not answering"
POLL_SECONDS = 0.05


class ComponentError(LakehouseError):
    """A component that was asked for does not exist, or needs what is not there."""


@dataclass(frozen=True)
class Launch:
    """How a component's process is started."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    """Where it listens, for whoever asks for its status."""


@dataclass(frozen=True)
class Component:
    """One node of the start order."""

    name: str
    after: tuple[str, ...] = ()
    """What must be ready before; what is not part of a start is taken to be there."""
    launch: Callable[[], Launch] | None = None
    """Writes the configuration and says how to start the process; None for a task."""
    health: Callable[[], str] = lambda: READY
    """``ready`` for work, or what else it is; answers within a second or two."""
    provision: Callable[[], None] = lambda: None
    """Makes what others need in it (topics, users, buckets), each time, if it is not there yet."""
    provides: str = ""
    """What that is, in words: ``the topics``."""
    deadline_seconds: float = 90.0
    grace_seconds: float = 30.0
    """For a clean stop."""
    memory_mib: int = 0
    """What it may take; the sum is the budget of the profile."""
    certificates: tuple[str, ...] = ()
    """Whose certificates it needs: in a container, which can make none, they must be there."""
    secrets: tuple[str, ...] = ()
    """Names of the secrets that it needs, the roles' own aside; likewise."""


def bring_up(
    components: Sequence[Component], supervisor: Supervisor, tell: Callable[[str], None]
) -> None:
    """Start what does not run yet, each when what it comes after is ready; return when all are.

    What does not depend on each other starts at the same time. Whatever goes wrong, Ctrl-C
    included: what this call started is stopped again.

    Args:
        components: In an order in which each comes after what it depends on.
        supervisor: Of the home.
        tell: Is told each step, in a few words.

    Raises:
        LakehouseError: Something could not be started; nothing that this call started is left.
    """
    with _stopped_on_failure(supervisor) as started:
        waiting, ready = list(components), set[str]()
        coming: dict[str, _Coming] = {}
        names = {component.name for component in components}
        while waiting or coming:
            for component in [c for c in waiting if not (names & set(c.after)) - ready]:
                waiting.remove(component)
                coming[component.name] = _start(component, supervisor, started, tell)
            for component in [c for c in components if c.name in coming]:
                if coming[component.name].is_ready():
                    if component.provides:
                        tell(f"making {component.provides}")
                    component.provision()
                    del coming[component.name]
                    ready.add(component.name)
                    break  # others may start now
            else:
                time.sleep(POLL_SECONDS)


@dataclass
class _Coming:
    """A component that has been started and is not known to be ready."""

    component: Component
    supervisor: Supervisor
    record: ProcessRecord | None
    deadline: float

    def is_ready(self) -> bool:
        if self.record is None:
            return True
        if self.component.health() == READY:
            return True
        self.supervisor.still_coming(self.record, deadline=self.deadline)
        return False


def _start(
    component: Component,
    supervisor: Supervisor,
    started: list[Component],
    tell: Callable[[str], None],
) -> _Coming:
    record = None
    deadline = time.monotonic() + component.deadline_seconds
    if component.launch is not None:
        record = supervisor.find(component.name)
        if record is None or not record.alive:
            supervisor.stop(component.name)  # what a dead process left behind
            tell(f"starting {component.name}")
            launch = component.launch()
            started.append(component)
            record = supervisor.start(
                component.name, launch.argv, environ=launch.environ, port=launch.port
            )
    return _Coming(component, supervisor, record, deadline)


def answers(probe: Callable[[], bool]) -> Callable[[], str]:
    """Return the health of a server that answers a probe or does not."""
    return lambda: READY if probe() else NOT_ANSWERING


def selected(components: Iterable[Component], names: Iterable[str]) -> list[Component]:
    """Return the named components and all that they come after.

    Raises:
        ComponentError: There is no such component.
    """
    by_name = {component.name: component for component in components}
    wanted = set(names)
    if unknown := wanted - by_name.keys():
        servers = ", ".join(name for name, component in by_name.items() if component.launch)
        raise ComponentError(f"{', '.join(sorted(unknown))}: choose from {servers}")
    pending = list(wanted)
    while pending:
        before = {name for name in by_name[pending.pop()].after if name in by_name} - wanted
        wanted |= before
        pending += before
    return [component for name, component in by_name.items() if name in wanted]


@contextmanager
def _stopped_on_failure(supervisor: Supervisor) -> Iterator[list[Component]]:
    started: list[Component] = []
    terminated = signal(SIGTERM, _interrupt)
    try:
        yield started
    except BaseException:
        # A second Ctrl-C must not leave half of them running.
        interrupted = signal(SIGINT, SIG_IGN)
        for component in reversed(started):
            supervisor.stop(component.name, grace_seconds=component.grace_seconds)
        signal(SIGINT, interrupted)
        raise
    finally:
        signal(SIGTERM, terminated)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt

"""One component of the stack in the foreground, as the process of a container."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from lakehouse.components import READY, Component, ComponentError, Launch
from lakehouse.settings import Settings

POLL_SECONDS = 0.2
# How often a component that is ready is asked again. Whoever wants to know reads the mark: to
# start another Python for every question would take a core from the twelve containers of a laptop.
WATCH_SECONDS = 5.0
# Two missed answers and a slow one.
STALE_SECONDS = 20.0
# What this process takes of a container's memory, beside its component.
WATCHER_MIB = 64


def run(component: Component, settings: Settings) -> int:
    """Start a component, provision it once it is healthy, and stay until it ends.

    A request to stop is passed on to it. While it is ready, its mark is kept fresh. Whatever goes
    wrong here ends it too, so that the container ends, and the engine may start it again.

    Returns:
        Its exit code.

    Raises:
        ComponentError: It is a task, or was not ready in time.
        LakehouseError: It cannot be configured or provisioned.
    """
    if component.launch is None:
        raise ComponentError(f"{component.name} is a task, not a server")
    mark = ready_mark(settings, component)
    mark.unlink(missing_ok=True)
    mark.parent.mkdir(parents=True, exist_ok=True)
    with _running(component.launch(), component.grace_seconds) as server:
        deadline = time.monotonic() + component.deadline_seconds
        while server.poll() is None and component.health() != READY:
            if time.monotonic() > deadline:
                raise ComponentError(f"{component.name} was not ready in time")
            time.sleep(POLL_SECONDS)
        if server.poll() is None:
            component.provision()
            mark.touch()
        return _watch(server, component, mark)


@contextmanager
def _running(launch: Launch, grace_seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
    with (
        subprocess.Popen(launch.argv, env=os.environ | dict(launch.environ)) as server,  # noqa: S603
        _signals_passed_on(server),
    ):
        try:
            yield server
        except BaseException:
            # Or Popen would wait for as long as the server likes to run, and nobody would know.
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(grace_seconds)
            server.kill()
            raise


@contextmanager
def _signals_passed_on(server: "subprocess.Popen[bytes]") -> Iterator[None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        server.send_signal(number)

    before = {kind: signal.signal(kind, pass_on) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _watch(server: "subprocess.Popen[bytes]", component: Component, mark: Path) -> int:
    while True:
        try:
            return server.wait(WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            if component.health() == READY:
                mark.touch()


def is_ready(component: Component, settings: Settings) -> bool:
    """Whether a component that runs in this container was ready for work a moment ago."""
    mark = ready_mark(settings, component)
    return mark.exists() and time.time() - mark.stat().st_mtime < STALE_SECONDS


def ready_mark(settings: Settings, component: Component) -> Path:
    """Return the file that was touched when a component was last known to be ready.

    It is there only once the component has been provisioned, and read by ``infra/images/healthy``.
    """
    return settings.home / "run" / f"{component.name}.ready"

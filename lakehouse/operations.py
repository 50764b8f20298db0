"""Start, stop and look at the processes of one home, whatever its profile."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from lakehouse import embedded
from lakehouse.components import Component, bring_up, selected
from lakehouse.processes import ProcessRecord, Supervisor
from lakehouse.settings import Settings


@dataclass(frozen=True)
class ProcessStatus:
    """What is known of one process."""

    name: str
    state: str
    """running, dead (it was never stopped, yet it is gone) or stopped."""
    health: str
    """ready, starting, stalled, not answering; a dash where nothing runs."""
    pid: int | None = None
    port: int | None = None
    memory_bytes: int | None = None
    """Memory of the process and all that it started; what they share is counted once."""
    uptime_seconds: float | None = None


def components(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Component]:
    """Return what the home of these settings consists of, in an order that a start may take."""
    if settings.on_stack:
        # Its certificates and clients are of no use to an embedded home, nor quick to import.
        from lakehouse.stack import profile  # noqa: PLC0415

        return profile.components(settings, environ or {})
    return embedded.components(settings, environ or {})


def up(
    settings: Settings,
    tell: Callable[[str], None],
    *,
    stack: bool = False,
    only: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
) -> None:
    """Start what does not run yet, and return when all of it is healthy.

    Whatever goes wrong, Ctrl-C included: what this call started is stopped again.

    Args:
        settings: The home.
        tell: Is told each step, in a few words.
        stack: Make the home a stack's if it has no profile yet; a home that has one keeps it.
        only: Components to start; all when empty.
        environ: Variables of our own processes, beside those of this one.

    Raises:
        LakehouseError: Something could not be started; nothing that this call started is left.
    """
    supervisor = Supervisor(settings.home)
    with supervisor.exclusive():
        if stack or settings.on_stack:
            from lakehouse.stack import profile  # noqa: PLC0415

            settings = profile.install(settings)
        wanted = components(settings, environ)
        if only := list(only):
            wanted = selected(wanted, only)
        bring_up(wanted, supervisor, tell)


def down(settings: Settings) -> list[str]:
    """Stop every process of the home, each before what it depends on; return what was running."""
    supervisor = Supervisor(settings.home)
    with supervisor.exclusive():
        known = {component.name: component for component in components(settings)}
        order = {name: position for position, name in enumerate(known)}
        names = [record.name for record in supervisor.records()]
        names.sort(key=lambda name: order.get(name, len(order)), reverse=True)
        return [
            name
            for name in names
            if supervisor.stop(
                name, **({"grace_seconds": known[name].grace_seconds} if name in known else {})
            )
        ]


def status(settings: Settings) -> list[ProcessStatus]:
    """Return what is known of every process that the home runs, ran or could run."""
    records = {record.name: record for record in Supervisor(settings.home).records()}
    known = {c.name: c for c in components(settings) if c.launch is not None}
    names = dict.fromkeys([*known, *records])
    return [_status_of(name, known.get(name), records.get(name)) for name in names]


def _status_of(
    name: str, component: Component | None, record: ProcessRecord | None
) -> ProcessStatus:
    if record is None:
        return ProcessStatus(name, "stopped", "-")
    if not record.alive:
        return ProcessStatus(name, "dead", "-", record.pid, record.port)
    memory_bytes = _memory_of(record)
    uptime_seconds = round(time.time() - record.started_at, 1)
    health = component.health() if component else "-"
    return ProcessStatus(
        name, "running", health, record.pid, record.port, memory_bytes, uptime_seconds
    )


def _memory_of(record: ProcessRecord) -> int:
    """Return the memory of a process, its group, and of children that left the group."""
    processes = set(record.members())
    with suppress(psutil.Error):
        processes |= set(psutil.Process(record.pid).children(recursive=True))
    found = 0
    for process in processes:
        with suppress(psutil.Error):
            full = process.memory_full_info()
            # Only Linux tells the proportional share; elsewhere shared pages count for each.
            found += getattr(full, "pss", full.rss)
    return found

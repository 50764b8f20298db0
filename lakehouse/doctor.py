"""Look for what keeps the platform from running here, and say what to do about it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from lakehouse.artifacts import Profile, absent_artifacts, fetch_command, locked_jars
from lakehouse.distributions import cached_home, find, profile_distributions
from lakehouse.distributions.golang import GoPrograms, find_go
from lakehouse.errors import LakehouseError
from lakehouse.java import NEWEST_PROVEN, OLDEST, find_java
from lakehouse.processes import Supervisor, port_is_free, remembered_ports
from lakehouse.settings import Settings
from lakehouse.stack import trino
from lakehouse.stack.installation import PORTS, service_of

GIB = 1 << 30
# The environment, the jars, and a demo's lake with room to spare; with them the servers, and what
# Go needs to build one of them.
DISK_BYTES = {Profile.EMBEDDED: 3 * GIB, Profile.STACK: 6 * GIB}
# Broker, lander and one Spark driver at the same time; with them all servers of the stack.
MEMORY_BYTES = {Profile.EMBEDDED: 4 * GIB, Profile.STACK: 12 * GIB}
PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    verdict: str
    """ok, warning or failure."""
    detail: str
    advice: str = ""


def examine(
    settings: Settings, absent_rooms: dict[str, str], profile: Profile = Profile.EMBEDDED
) -> list[Finding]:
    """Return the findings of every check.

    Args:
        settings: The home and cache to look at.
        absent_rooms: Rooms whose commands could not be loaded, each with the reason.
        profile: What is to run here. Of the stack's servers the embedded profile speaks only when
            some, but not all, have been fetched.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _java,
        lambda: _stack_java(profile),
        lambda: _artifacts(settings, profile),
        lambda: _go(settings, profile),
        lambda: _distributions(settings, profile),
        lambda: _space(settings, profile),
        lambda: _memory(profile),
        lambda: _processes(settings),
        lambda: _ports(settings, profile),
        lambda: _rooms(absent_rooms),
    ]
    return [finding for check in checks for finding in check()]


def _python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] == PYTHON:
        yield Finding("python", "ok", f"{version} at {sys.executable}")
    else:
        yield Finding("python", "failure", f"{version}, not 3.11", "run `make setup`")


def _java() -> Iterator[Finding]:
    try:
        java = find_java()
    except LakehouseError as error:
        yield Finding("java", "failure", *_split(str(error)))
        return
    detail = f"{java.version} at {java.home}"
    if java.proven:
        yield Finding("java", "ok", detail)
    else:
        proven = f"Spark is tested on Java {OLDEST} to {NEWEST_PROVEN}; install one if jobs fail"
        yield Finding("java", "warning", detail, proven)


def _stack_java(profile: Profile) -> Iterator[Finding]:
    if profile != Profile.STACK:
        return
    try:
        java = find_java(oldest=trino.JAVA)  # no other server needs a newer one
    except LakehouseError as error:
        yield Finding("java: trino", "failure", *_split(str(error)))
    else:
        yield Finding("java: trino", "ok", f"{java.version} at {java.home}")


def _artifacts(settings: Settings, profile: Profile) -> Iterator[Finding]:
    absent, total = absent_artifacts(settings, profile), len(locked_jars(profile))
    if absent:
        detail = f"{len(absent)} of {total} jars are missing or altered in {settings.cache}"
        yield Finding("artifacts", "failure", detail, f"run `{fetch_command(profile)}`")
    else:
        yield Finding("artifacts", "ok", f"{total} jars in {settings.cache / 'jars'}")


def _go(settings: Settings, profile: Profile) -> Iterator[Finding]:
    for item in profile_distributions(profile):
        if isinstance(item.source, GoPrograms) and find(settings, item) is None:
            try:
                version = find_go(item.source.oldest_go, item.name)
            except LakehouseError as error:
                yield Finding(f"go: {item.name}", "failure", *_split(str(error)))
            else:
                yield Finding(f"go: {item.name}", "ok", version)


def _distributions(settings: Settings, profile: Profile) -> Iterator[Finding]:
    advice = f"run `{fetch_command(Profile.STACK)}`"
    wanted = profile_distributions(Profile.STACK)
    absent = [item for item in wanted if find(settings, item) is None]
    if profile == Profile.STACK:
        for item in wanted:
            check, found = f"server: {item.name}", find(settings, item)
            if found is None:
                yield Finding(check, "failure", f"{item.source.version} is absent", advice)
            else:
                yield Finding(check, "ok", str(found))
    elif absent and any(cached_home(settings, item).is_dir() for item in wanted):
        names = ", ".join(item.name for item in absent)
        yield Finding("servers", "warning", f"of the stack's, these are absent: {names}", advice)


def _space(settings: Settings, profile: Profile) -> Iterator[Finding]:
    needed = DISK_BYTES.get(profile, 0)
    for name, folder in (("home", settings.home), ("cache", settings.cache)):
        free = shutil.disk_usage(_nearest_existing(folder)).free
        detail = f"{free / GIB:.1f} GiB free for {folder}"
        if free >= needed:
            yield Finding(f"disk: {name}", "ok", detail)
        else:
            advice = f"free {needed / GIB:.0f} GiB or set LAKEHOUSE_{name.upper()}"
            yield Finding(f"disk: {name}", "warning", detail, advice)


def _memory(profile: Profile) -> Iterator[Finding]:
    available = psutil.virtual_memory().available
    detail = f"{available / GIB:.1f} GiB available"
    if available >= MEMORY_BYTES.get(profile, 0):
        yield Finding("memory", "ok", detail)
    else:
        advice = "close something, or lower LAKEHOUSE_SPARK_DRIVER_MEMORY"
        yield Finding("memory", "warning", detail, advice)


def _processes(settings: Settings) -> Iterator[Finding]:
    supervisor = Supervisor(settings.home)
    dead = [record for record in supervisor.records() if not record.alive]
    for record in dead:
        left = len(record.members())
        survivors = f", {left} of its children still run" if left else ""
        yield Finding(
            f"process: {record.name}",
            "failure" if left else "warning",
            f"died without being stopped{survivors}; its log: {supervisor.log(record.name)}",
            "run `lakehouse down`, then `lakehouse up`",
        )
    if not dead:
        yield Finding("processes", "ok", "no leftovers of dead ones")


def _ports(settings: Settings, profile: Profile) -> Iterator[Finding]:
    supervisor = Supervisor(settings.home)
    alive = {record.name for record in supervisor.records() if record.alive}
    preferred = PORTS if profile == Profile.STACK else {}
    for name, port in (preferred | remembered_ports(settings.home)).items():
        if service_of(name) in alive or port_is_free(port):
            yield Finding(f"port: {name}", "ok", str(port))
        else:
            advice = "nothing to do: the next start picks another"
            yield Finding(f"port: {name}", "warning", f"{port} is taken by a stranger", advice)


def _rooms(absent: dict[str, str]) -> Iterator[Finding]:
    for room, reason in absent.items():
        detail = f"its commands are missing: {reason}"
        yield Finding(f"room: {room}", "warning", detail, "run `make setup`")


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _split(message: str) -> tuple[str, str]:
    detail, _, advice = message.partition(": ")
    return detail, advice

"""Look for what keeps the platform from running here, and say what to do about it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from lakehouse.artifacts import absent_artifacts, locked_artifacts
from lakehouse.errors import LakehouseError
from lakehouse.java import NEWEST_PROVEN, OLDEST, find_java
from lakehouse.processes import Supervisor, port_is_free, remembered_ports
from lakehouse.settings import Settings

GIB = 1 << 30
# The environment, the jars, and a demo's lake with room to spare.
DISK_BYTES = 3 * GIB
# Broker, lander and one Spark driver at the same time.
MEMORY_BYTES = 4 * GIB
PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    verdict: str
    """ok, warning or failure."""
    detail: str
    advice: str = ""


def examine(settings: Settings, absent_rooms: dict[str, str]) -> list[Finding]:
    """Return the findings of every check.

    Args:
        settings: The home and cache to look at.
        absent_rooms: Rooms whose commands could not be loaded, each with the reason.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _java,
        lambda: _artifacts(settings),
        lambda: _space(settings),
        _memory,
        lambda: _processes(settings),
        lambda: _ports(settings),
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


def _artifacts(settings: Settings) -> Iterator[Finding]:
    absent, total = absent_artifacts(settings), len(locked_artifacts())
    if absent:
        detail = f"{len(absent)} of {total} jars are missing or altered in {settings.cache}"
        yield Finding("artifacts", "failure", detail, "run `lakehouse artifacts fetch`")
    else:
        yield Finding("artifacts", "ok", f"{total} jars in {settings.cache / 'jars'}")


def _space(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("home", settings.home), ("cache", settings.cache)):
        free = shutil.disk_usage(_nearest_existing(folder)).free
        detail = f"{free / GIB:.1f} GiB free for {folder}"
        if free >= DISK_BYTES:
            yield Finding(f"disk: {name}", "ok", detail)
        else:
            advice = f"free {DISK_BYTES / GIB:.0f} GiB or set LAKEHOUSE_{name.upper()}"
            yield Finding(f"disk: {name}", "warning", detail, advice)


def _memory() -> Iterator[Finding]:
    available = psutil.virtual_memory().available
    detail = f"{available / GIB:.1f} GiB available"
    if available >= MEMORY_BYTES:
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


def _ports(settings: Settings) -> Iterator[Finding]:
    supervisor = Supervisor(settings.home)
    alive = {record.name for record in supervisor.records() if record.alive}
    for name, port in remembered_ports(settings.home).items():
        if name.split("-")[0] in alive or port_is_free(port):
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

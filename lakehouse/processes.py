"""Background processes of one home: start detached, wait until healthy, stop with all they made.

Each process leads a session of its own, so whatever it starts (a Spark driver's JVM) is in its
process group and goes with it. What is known about it is one file, ``run/<name>.json``, which
carries the process's start time: a process id alone may belong to a stranger by now.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

from lakehouse.errors import LakehouseError
from lakehouse.files import write_atomically

LOOPBACK = "127.0.0.1"
PORTS_FILE = "ports.json"
# Linux states a process's start in ticks since boot; boot time moves when the clock is set.
START_TOLERANCE_SECONDS = 1.0
POLL_SECONDS = 0.05
QUOTED_LOG_LINES = 15
# A clean stop of the streaming layers finishes the commit that is under way.
STOP_GRACE_SECONDS = 30.0
KILL_GRACE_SECONDS = 5.0


class ProcessError(LakehouseError):
    """A background process did not start, did not become healthy, or could not be stopped."""


@dataclass(frozen=True)
class ProcessRecord:
    """One started process, as its file under ``run/`` tells of it."""

    name: str
    pid: int
    started_at: float
    argv: list[str]
    port: int | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record back.

        Raises:
            ProcessError: The file is not such a record.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ProcessError(f"{path} is no process record: {error}; delete it") from error

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return _runs_since(self.pid, self.started_at)

    def members(self) -> list[psutil.Process]:
        """Return the living processes of its group, also those that outlived their leader."""
        if psutil.pid_exists(self.pid) and not self.alive and not _is_zombie(self.pid):
            return []  # the id is a stranger's by now, so the group is gone
        found = []
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.Error, PermissionError):
                # The leader's id stays the group's id, unavailable to others, while a member lives.
                if os.getpgid(process.pid) == self.pid and not _is_zombie(process.pid):
                    found.append(process)
        return found


class Supervisor:
    """The background processes of one home."""

    def __init__(self, home: Path) -> None:
        self.run = home / "run"
        self.logs = home / "logs"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other commands from starting or stopping processes of this home meanwhile."""
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProcessError(
                    f"another command is starting or stopping processes of {self.run.parent}"
                ) from None
            yield

    def records(self) -> list[ProcessRecord]:
        """Return what was started and not stopped, dead ones too, by time of start."""
        paths = self.run.glob("*.json") if self.run.is_dir() else []
        records = [ProcessRecord.read(path) for path in paths if path.name != PORTS_FILE]
        return sorted(records, key=lambda record: record.started_at)

    def find(self, name: str) -> ProcessRecord | None:
        """Return the record of a process, dead or alive; None if it was stopped or never ran."""
        path = self._record_path(name)
        return ProcessRecord.read(path) if path.exists() else None

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self.logs / f"{name}.log"

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> ProcessRecord:
        """Start a process detached from this one, its output going to its log.

        Args:
            name: Names the record and the log.
            argv: Command and arguments.
            environ: Variables added to this process's own.
            port: Stated in the record.

        Raises:
            ProcessError: It runs already, or its command cannot be run.
        """
        known = self.find(name)
        if known and known.members():
            raise ProcessError(f"{name} runs already (process {known.pid}); `lakehouse down` first")
        self.run.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log, _signals_held():
            try:
                child = subprocess.Popen(  # noqa: S603 - our own commands
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | dict(environ or {}),
                    start_new_session=True,
                )
            except OSError as error:
                raise ProcessError(f"{name} cannot be started: {error}") from error
            self._children[name] = child
            started_at = psutil.Process(child.pid).create_time()
            record = ProcessRecord(name, child.pid, started_at, list(argv), port)
            write_atomically(self._record_path(name), json.dumps(asdict(record), indent=2))
        return record

    def wait_until(
        self, record: ProcessRecord, healthy: Callable[[], bool], *, deadline_seconds: float
    ) -> None:
        """Return once ``healthy`` says so.

        Raises:
            ProcessError: The process died meanwhile (its last log lines are quoted), or the
                deadline passed.
        """
        deadline = time.monotonic() + deadline_seconds
        while not healthy():
            self.still_coming(record, deadline=deadline)
            time.sleep(POLL_SECONDS)

    def still_coming(self, record: ProcessRecord, *, deadline: float) -> None:
        """Check that a process that is not healthy yet may become so.

        Args:
            record: The process.
            deadline: On the monotonic clock.

        Raises:
            ProcessError: It has died (its last log lines are quoted), or the deadline has passed.
        """
        if not record.alive:
            raise ProcessError(f"{record.name} died while starting. {self._quote(record.name)}")
        if time.monotonic() > deadline:
            raise ProcessError(f"{record.name} was not ready in time. {self._quote(record.name)}")

    def stop(self, name: str, *, grace_seconds: float = STOP_GRACE_SECONDS) -> bool:
        """Stop a process and all that it started; return whether anything was running.

        The leader is asked first, so that it can end its own children in order; then whoever is
        left in its group; what ignores that is killed.

        Raises:
            ProcessError: Something survived even that.
        """
        record = self.find(name)
        if record is None:
            return False
        was_running = bool(record.members())
        if record.alive:
            _signal(psutil.Process(record.pid), signal.SIGTERM)
            self._wait_gone(lambda: not record.alive, grace_seconds)
        numbers = (signal.SIGKILL,) if record.alive else (signal.SIGTERM, signal.SIGKILL)
        for number in numbers:
            for process in record.members():
                _signal(process, number)
            self._wait_gone(lambda: not record.members(), KILL_GRACE_SECONDS)
        if record.members():
            raise ProcessError(f"{name} (process group {record.pid}) cannot be killed")
        if child := self._children.pop(name, None):
            child.wait()
        self._record_path(name).unlink(missing_ok=True)
        return was_running

    def port(self, name: str, *, preferred: int | None = None) -> int:
        """Return the port that this home uses for ``name``: the one of last time if it is free.

        Args:
            name: A process, or one of several uses of it: ``kafka``, ``kafka-controller``.
            preferred: Where users look for it; another is taken when that is not free.
        """
        ports = remembered_ports(self.run.parent)
        if name in ports and any(record.alive for record in self.records()):
            return ports[name]  # whoever runs looks for it there
        if name not in ports or not port_is_free(ports[name]):
            taken = set(ports.values())
            if preferred and preferred not in taken and port_is_free(preferred):
                ports[name] = preferred
            else:
                ports[name] = _free_port(taken)
            self.run.mkdir(parents=True, exist_ok=True)
            write_atomically(self.run / PORTS_FILE, json.dumps(ports, indent=2))
        return ports[name]

    def _record_path(self, name: str) -> Path:
        return self.run / f"{name}.json"

    def _wait_gone(self, gone: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not gone() and time.monotonic() < deadline:
            for child in self._children.values():
                child.poll()  # reaps: a zombie would keep its id
            time.sleep(POLL_SECONDS)

    def _quote(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()[-QUOTED_LOG_LINES:]
        return f"The end of {self.log(name)}:\n" + "\n".join(f"  | {line}" for line in lines)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let Ctrl-C wait: between a process's start and its record it would be lost from sight."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    held: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(kind, lambda number, _: held.append(number)) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, handlers, strict=True):
            signal.signal(kind, handler)
        for number in held:
            signal.raise_signal(number)


def remembered_ports(home: Path) -> dict[str, int]:
    """Return the ports that this home's processes used when they last ran."""
    path = home / "run" / PORTS_FILE
    ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return ports


def port_is_free(port: int) -> bool:
    """Whether a server on this machine could listen on ``port`` now."""
    with socket.socket() as probe:
        # As servers do: a connection of the last run that lingers in TIME_WAIT is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def _runs_since(pid: int, started_at: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started_at) < START_TOLERANCE_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)

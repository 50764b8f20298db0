"""Start, stop and look at the embedded processes of one home."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from lakehouse import broker
from lakehouse.errors import LakehouseError
from lakehouse.heartbeat import beat_path, last_beat
from lakehouse.processes import ProcessRecord, Supervisor
from lakehouse.settings import NotRunningError, Settings

# Verbs of the command line that run until they are stopped, in the order of their start.
LAYERS = ("land", "speed")
PROCESSES = (broker.PROCESS, *LAYERS)
# A Spark driver takes ten seconds to its first micro-batch on an idle laptop.
LAYER_DEADLINE_SECONDS = 120.0
# Longer than any sane pause between two commits or micro-batches.
STALLED_SECONDS = 60.0


class OperationError(LakehouseError):
    """The processes of a home could not be brought into the wanted state."""


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
    rss_bytes: int | None = None
    """Resident memory of the process and all that it started."""
    uptime_seconds: float | None = None


def up(
    settings: Settings,
    names: Sequence[str],
    tell: Callable[[str], None],
    *,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Start what of ``names`` does not run yet, and return when all of it is healthy.

    Whatever goes wrong, Ctrl-C included: what this call started is stopped again.

    Args:
        settings: The home.
        names: Some of ``PROCESSES``.
        tell: Is told each step, in a few words.
        environ: Variables of the layers' processes, beside those of this one.

    Raises:
        LakehouseError: Something could not be started; nothing that this call started is left.
    """
    supervisor = Supervisor(settings.home)
    with supervisor.exclusive(), _stopped_on_failure(settings, supervisor) as started:
        wanted = [name for name in PROCESSES if name in names and not _runs(supervisor, name)]
        for name in wanted:
            supervisor.stop(name)  # what a dead process left behind
        if broker.PROCESS in wanted and not settings.kafka_bootstrap:
            tell("starting the broker")
            started.append(broker.PROCESS)
            broker.start_broker(settings, supervisor)
        tell("making the topics")
        broker.ensure_topics(settings)
        layers = [name for name in LAYERS if name in wanted]
        if layers:
            tell("making the tables")
            _run_verb(settings, "schemas", "apply")
        records = []
        variables = _environ(settings) | dict(environ or {})
        for name in layers:
            beat_path(settings.home, name).unlink(missing_ok=True)
            started.append(name)
            records.append(supervisor.start(name, _verb(name), environ=variables))
        for record in records:
            tell(f"waiting for {record.name}")
            supervisor.wait_until(
                record,
                lambda name=record.name: last_beat(settings.home, name) is not None,  # type: ignore[misc]
                deadline_seconds=LAYER_DEADLINE_SECONDS,
            )


def down(settings: Settings) -> list[str]:
    """Stop every process of the home, readers before the broker; return what was running."""
    supervisor = Supervisor(settings.home)
    with supervisor.exclusive():
        names = [record.name for record in supervisor.records() if record.name != broker.PROCESS]
        names.sort(key=lambda name: PROCESSES.index(name) if name in PROCESSES else len(PROCESSES))
        stopped = [name for name in reversed(names) if supervisor.stop(name)]
        if broker.stop_broker(settings, supervisor):
            stopped.append(broker.PROCESS)
    return stopped


def status(settings: Settings) -> list[ProcessStatus]:
    """Return what is known of every process that the home runs, ran or could run."""
    records = {record.name: record for record in Supervisor(settings.home).records()}
    names = dict.fromkeys([*PROCESSES, *records])
    return [_status_of(settings, name, records.get(name)) for name in names]


def _status_of(settings: Settings, name: str, record: ProcessRecord | None) -> ProcessStatus:
    if record is None:
        return ProcessStatus(name, "stopped", "-")
    if not record.alive:
        return ProcessStatus(name, "dead", "-", record.pid, record.port)
    rss_bytes = 0
    for member in record.members():
        with suppress(psutil.Error):
            rss_bytes += member.memory_info().rss
    uptime_seconds = round(time.time() - record.started_at, 1)
    health = _health_of(settings, record)
    return ProcessStatus(
        name, "running", health, record.pid, record.port, rss_bytes, uptime_seconds
    )


def _health_of(settings: Settings, record: ProcessRecord) -> str:
    if record.name == broker.PROCESS:
        try:
            answers = broker.broker_answers(settings.bootstrap_servers)
        except NotRunningError:  # the endpoint is written when the broker first answers
            return "starting"
        return "ready" if answers else "not answering"
    beat = last_beat(settings.home, record.name)
    if beat is None:
        return "starting"
    return "ready" if time.time() - beat < STALLED_SECONDS else "stalled"


def _runs(supervisor: Supervisor, name: str) -> bool:
    record = supervisor.find(name)
    return record is not None and record.alive


def _verb(*words: str) -> list[str]:
    return [sys.executable, "-m", "lakehouse", *words]


def _environ(settings: Settings) -> dict[str, str]:
    return {"LAKEHOUSE_HOME": str(settings.home)}


def _run_verb(settings: Settings, *words: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own command line
        _verb(*words),
        env=os.environ | _environ(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OperationError(
            f"`lakehouse {' '.join(words)}` failed:\n{done.stdout}{done.stderr}".rstrip()
        )


@contextmanager
def _stopped_on_failure(settings: Settings, supervisor: Supervisor) -> Iterator[list[str]]:
    started: list[str] = []
    terminated = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield started
    except BaseException:
        # A second Ctrl-C must not leave half of them running.
        interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for name in reversed(started):
            if name == broker.PROCESS:
                broker.stop_broker(settings, supervisor)
            else:
                supervisor.stop(name)
        signal.signal(signal.SIGINT, interrupted)
        raise
    finally:
        signal.signal(signal.SIGTERM, terminated)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt

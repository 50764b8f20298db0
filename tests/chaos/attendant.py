"""Does what a supervisor and a scheduler do: keeps the layers running, runs one job after another.

It never waits: whoever waits for something else calls `step` meanwhile.
"""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chaos.stepping_clock import PROGRAM, SteppingClock
from embedded_lake import EmbeddedLake

LAYERS = ("land", "speed")
JOBS = ("batch", "reconcile", "maintain")
# What a job writes its first row to when it is under way.
RECORDS = {
    "batch": "ops.runs",
    "reconcile": "ops.reconciliations",
    "maintain": "ops.maintenance",
}
DRIFT = 3
# Asking how far a job is reads a table's metadata; the machine is busy enough.
LOOK_SECONDS = 0.5


@dataclass
class Job:
    """A run of a verb that ends by itself."""

    verb: str
    process: "subprocess.Popen[bytes]"
    rows_before: int
    began_at: float = field(default_factory=time.monotonic)


@dataclass
class Attendant:
    """Of one lake.

    Attributes:
        lake: The lake.
        clocks: Those of the layers and of the jobs, by name; a reconciliation has batch's.
        start: Where every interval that batch is asked for begins.
        next_job: Runs next, if any; ``reconcile`` takes turns with ``batch``.
        ended: Layers that ended by themselves and were started again, with their last words.
        done: Jobs by verb and how they ended.
        runs: Jobs that ended well, in order: kind, when it began on the monotonic clock, seconds.
    """

    lake: EmbeddedLake
    clocks: Mapping[str, SteppingClock]
    start: datetime
    next_job: str | None = None
    ended: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    runs: list[tuple[str, float, float]] = field(default_factory=list)
    _job: Job | None = None
    _published: tuple[str, ...] | None = None
    _bounds: tuple[str, ...] = ()
    _looked_at: float = 0.0

    def begin(self, layer: str) -> None:
        """Start a layer."""
        self.lake.start(layer, program=PROGRAM, environ=self.clocks[layer].environ)

    def step(self) -> None:
        """Start again what has died, and the next job when one has ended.

        A layer that was killed on purpose has no record; it is left to who killed it.
        """
        for layer in LAYERS:
            record = self.lake.supervisor.find(layer)
            if record is not None and not record.alive:
                self.ended.append(f"{layer}: {self.lake.tail(layer).splitlines()[-1]}")
                self.lake.supervisor.stop(layer)
                self.begin(layer)
        if self._job is None:
            self._job = self._begin_job(self.next_job) if self.next_job else None
        elif (code := self._job.process.poll()) is not None:
            self._note(self._job, code)
            self._job = None

    def is_at_work(self, job: str) -> bool:
        """Whether a job of this kind has got so far that it has written something."""
        running, now = self._job, time.monotonic()
        if running is None or _kind(running.verb) != job or running.process.poll() is not None:
            return False
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        return self._rows(running.verb) > running.rows_before

    def has_begun(self, job: str) -> bool:
        """Whether a job of this kind runs, however far it is."""
        return self._job is not None and _kind(self._job.verb) == job

    def next_run(self, job: str, after: float) -> float | None:
        """Return how long the first job of a kind took that began after a time, and ended well."""
        return next((took for kind, at, took in self.runs if kind == job and at > after), None)

    def kill_job(self) -> bool:
        """Kill the job; return whether it had not ended before."""
        job, self._job = self._job, None
        if job is None:
            return False
        if (code := job.process.poll()) is not None:
            self._note(job, code)
            return False
        os.killpg(job.process.pid, signal.SIGKILL)
        job.process.wait()
        self.done[f"{job.verb} killed"] += 1
        return True

    def stop(self) -> None:
        """End the job at once, and the layers in order."""
        if self._job is not None and self._job.process.poll() is None:
            os.killpg(self._job.process.pid, signal.SIGKILL)
            self._job.process.wait()
        for layer in LAYERS:
            self.lake.supervisor.stop(layer)

    def _begin_job(self, verb: str) -> Job:
        words: tuple[str, ...] = ()
        if verb == "batch" and self._published is not None:
            # The layers are compared over what batch has published.
            verb, words, self._published = "reconcile", self._published, None
        elif verb == "batch":
            end = datetime.now(UTC).isoformat()
            words = self._bounds = ("--start", self.start.isoformat(), "--end", end)
        rows = self._rows(verb)
        environ = self.clocks[_kind(verb)].environ
        return Job(verb, self.lake.spawn(verb, *words, program=PROGRAM, environ=environ), rows)

    def _note(self, job: Job, code: int) -> None:
        tail = self.lake.tail(job.verb)
        assert code != DRIFT, f"the layers contradict each other:\n{tail}"
        if job.verb == "batch" and code == 0:
            self._published = self._bounds
        if code == 0:
            self.runs.append((_kind(job.verb), job.began_at, time.monotonic() - job.began_at))
        how = "done" if code == 0 else f"failed ({_reason(tail)})"
        self.done[f"{job.verb} {how}"] += 1

    def _rows(self, verb: str) -> int:
        """How many rows there are that such a job writes."""
        snapshot = self.lake.catalog.load_table(RECORDS[verb]).current_snapshot()
        if snapshot is None or snapshot.summary is None:
            return 0
        return int(snapshot.summary["total-records"] or 0)


def _kind(verb: str) -> str:
    return "batch" if verb == "reconcile" else verb


def _reason(tail: str) -> str:
    """Return the name of the error that a command ended with, as far as it told."""
    names = re.findall(r"^(?:error: )?([\w.]*(?:Error|Exception)):", tail, re.MULTILINE)
    return str(names[-1]).rpartition(".")[-1] if names else tail.splitlines()[-1][:80]

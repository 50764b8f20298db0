"""Everything goes wrong while all streams run: nothing is lost, and nothing is counted twice.

The processes are real, and so are the faults: `chaos.schedule` says which, `chaos.faults` how. What
is in the lake afterwards is held against one naive pass over what a plain consumer reads from the
log. Order, moments and durations follow from a seed, which is printed: ``CHAOS_SEED=… make chaos``
has the same schedule again, ``CHAOS_FAULTS=100 make chaos`` a longer one.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from chaos.attendant import LAYERS, Attendant
from chaos.faults import fault_of
from chaos.load import Load, everything_sent
from chaos.oracles import (
    Logs,
    check_as_stated,
    check_batch_tables,
    check_bronze,
    check_log,
    check_refusals,
    check_views,
)
from chaos.recovery import Recoveries
from chaos.report import Report, Stream
from chaos.schedule import CLOCKS, ROUND, Kind, Planned, schedule
from chaos.small_disk import Disk, small_disk
from chaos.stepping_clock import SteppingClock
from embedded_lake import EmbeddedLake, embedded_lake

from lakehouse.processes import Supervisor
from lakehouse.settings import Settings

FAULTS = int(os.environ.get("CHAOS_FAULTS") or 33)
# Set-up and judgement, and more than the slowest of machines needs for a fault.
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900 + 60 * FAULTS)]

# The last batch and the last reconciliations have the machine for themselves.
JOB_SECONDS = 600.0
# A layer that stands still fails the run sooner; one that moves may take its time.
PATIENCE_SECONDS = 900.0


@dataclass
class Arena:
    """A lake with all that happens to it; whatever waits lets the rest go on."""

    lake: EmbeddedLake
    attendant: Attendant
    recoveries: Recoveries
    load: Load
    disk: Disk | None
    _quiet: bool = field(default=False)

    def step(self) -> None:
        self.load.check()
        if not self._quiet:
            self.attendant.step()
            self.recoveries.step()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            self.step()
            return condition()

        self.lake.wait_until(met, what, deadline_seconds=PATIENCE_SECONDS)

    def wait(self, seconds: float) -> None:
        over_at = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() >= over_at, f"{seconds} s pass")

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Ask nothing of the lake meanwhile: it could not answer."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def happens(self, planned: Planned) -> None:
        """Let a fault happen and be over; recovery from it is waited for by whoever needs it."""
        fault = fault_of(planned, self.attendant, self.disk, self.wait)
        self.wait_until(lambda: self.recoveries.have(fault.hits), f"{fault.hits} work again")
        injected = False
        while not injected:  # a job may end before its time has come
            self.wait_until(fault.is_ready, f"there is something to hit: {planned}")
            self.wait(planned.delay_seconds)
            injected = fault.inject()
        try:
            with self.quiet():
                self.wait(planned.hold_seconds)
        finally:
            fault.lift()
        over_at = time.monotonic()
        self.load.mark()
        self.recoveries.begin(planned, over_at)


def writers(home: Path) -> list[psutil.Process]:
    """Return the processes of the layers."""
    records = [Supervisor(home).find(layer) for layer in LAYERS]
    return [process for record in records if record for process in record.members()]


@contextmanager
def lake_on(disk_folder: Path, home: Path) -> Iterator[EmbeddedLake]:
    """Start a lake whose tables, catalog and checkpoints are on a disk of their own."""
    (disk_folder / "checkpoints").mkdir()
    (home / "checkpoints").symlink_to(disk_folder / "checkpoints")
    settings = Settings(
        home=home,
        warehouse=(disk_folder / "warehouse").as_uri(),
        catalog_uri=f"sqlite:///{disk_folder / 'catalog.db'}",
        spark_driver_memory="1g",
    )
    with embedded_lake(settings) as lake:
        yield lake


def all_faults_happen(arena: Arena, plan: list[Planned], tell: Callable[[str], None]) -> None:
    """Let a schedule happen, and both layers recover."""
    attendant, recoveries = arena.attendant, arena.recoveries
    for layer in LAYERS:
        attendant.begin(layer)
    arena.load.mark()
    arena.wait_until(
        lambda: all(arena.lake.is_ready(layer) for layer in LAYERS), "both layers are at work"
    )
    for place, planned in enumerate(plan):
        # What is to be hit next is under way by the time that its turn comes.
        coming = (one.job for one in plan[place:] if one.job)
        attendant.next_job = next(coming, attendant.next_job)
        tell(str(planned))
        arena.happens(planned)
        if planned.number % len(ROUND) == 0:
            arena.wait_until(lambda: recoveries.have(LAYERS), "both layers have recovered")
            tell(f"{check_as_stated(arena.lake)} bars are exact as of their positions")
    arena.wait_until(lambda: recoveries.have(LAYERS), "both layers have recovered")
    for job in sorted(recoveries.missing_jobs):
        ends_well(arena, job)


def ends_well(arena: Arena, job: str) -> None:
    """Let a job that was hit last come to a good end."""
    arena.attendant.next_job = job
    arena.wait_until(lambda: job not in arena.recoveries.missing_jobs, f"{job} ends well")


def reach_the_end(arena: Arena) -> None:
    """Let both layers reach the end of the log by themselves, which nobody writes to any more."""
    arena.recoveries.begin(Planned(0, Kind.LANDER, 0, 0), time.monotonic())

    def reached() -> bool:
        arena.recoveries.step()
        return arena.recoveries.have(LAYERS)

    arena.lake.wait_until(
        reached, "both layers are at the end of the log", deadline_seconds=PATIENCE_SECONDS
    )
    arena.recoveries.all.pop()


def reconciled(lake: EmbeddedLake, logs: Logs, start: datetime) -> None:
    """Let batch take over everything, and judge after each step."""
    bounds = ("--start", start.isoformat(), "--end", lake.ingested_through().isoformat())
    lake.run("batch", *bounds, deadline_seconds=JOB_SECONDS)
    check_views(lake, logs)
    check_batch_tables(lake, logs)
    check_refusals(lake, logs)
    # The first may prune what earlier ones have found covered, the second all of it.
    for _ in range(2):
        records = json.loads(lake.run("reconcile", *bounds, "--json", deadline_seconds=JOB_SECONDS))
        assert {record["verdict"] for record in records} == {"AGREE"}
        statuses = check_views(lake, logs)
    assert set().union(*statuses.values()) == {"RECONCILED"}


def test_nothing_is_lost_and_nothing_is_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    began_at, start = time.monotonic(), datetime.now(UTC) - timedelta(minutes=1)
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
    home = tmp_path_factory.mktemp("chaos")
    disk_folder = home / "disk"
    disk_folder.mkdir()

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"{time.monotonic() - began_at:6.0f} s  {text}", flush=True)

    with small_disk(disk_folder, lambda: writers(home)) as disk, lake_on(disk_folder, home) as lake:
        kinds = [kind for kind in Kind if disk or kind is not Kind.DISK]
        tell(f"CHAOS_SEED={seed} CHAOS_FAULTS={FAULTS}, disk: {type(disk).__name__}")
        clocks = {name: SteppingClock(home / f"clock of {name}") for name in CLOCKS}
        attendant = Attendant(lake, clocks, start)
        try:
            with everything_sent(lake, seed) as load:
                arena = Arena(lake, attendant, Recoveries(attendant), load, disk)
                all_faults_happen(arena, schedule(seed, FAULTS, kinds), tell)
            reach_the_end(arena)
        finally:
            attendant.stop()
        tell("drained")
        logs = Logs.read(lake)
        check_log(logs, load.sent)
        for verb in LAYERS:
            lake.run(verb, "--once", deadline_seconds=JOB_SECONDS)
        check_bronze(lake, logs)
        check_views(lake, logs)
        tell("every view is exact")
        reconciled(lake, logs, start)
        accounted = check_bronze(lake, logs)
        tell("and after batch and reconciliation")

    report = Report(
        seed,
        time.monotonic() - began_at,
        [(one.fault, one.seconds) for one in arena.recoveries.all],
        load.sent.total(),
        streams(logs, accounted),
        attendant.done,
        attendant.ended,
    )
    with capsys.disabled():
        print(report)


def streams(logs: Logs, accounted: Mapping[str, int]) -> list[Stream]:
    """Return where the messages of each topic of events went."""
    return [
        Stream(
            topic,
            logs.messages(topic),
            accounted[topic],
            len(logs.events(topic)),
            logs.repeated(topic),
        )
        for topic in logs.judged
    ]

"""What each kind of fault does to a lake, and how it is taken back."""

import os
import signal
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from chaos.attendant import LAYERS, Attendant
from chaos.schedule import Kind, Planned
from chaos.small_disk import Disk
from chaos.stepping_clock import SteppingClock
from embedded_lake import EmbeddedLake
from sqlalchemy.engine import make_url

from lakehouse.broker import PROCESS, start_broker

# Writers that come and go let somebody else have the catalog within this.
LOCK_SECONDS = 60.0

Wait = Callable[[float], None]


class Fault(ABC):
    """Something that goes wrong.

    Attributes:
        hits: The layers that must be at work before, so that there is something to hit.
    """

    # What all rest on is hit whatever the speed layer is at, which takes longest to start.
    hits: tuple[str, ...] = ("land",)

    def is_ready(self) -> bool:
        """Whether what it hits besides is at work."""
        return True

    @abstractmethod
    def inject(self) -> bool:
        """Let it happen; return whether there was still something to hit."""

    @abstractmethod
    def lift(self) -> None:
        """Let it be over."""


@dataclass
class KilledLayer(Fault):
    """A layer dies at once, with all that it has started, and perhaps its successor, too."""

    attendant: Attendant
    layer: str
    stillborn_seconds: float | None
    wait: Wait

    def __post_init__(self) -> None:
        self.hits = (self.layer,)

    def inject(self) -> bool:
        self.attendant.lake.kill(self.layer)
        return True

    def lift(self) -> None:
        self.attendant.begin(self.layer)
        if self.stillborn_seconds is not None:
            self.wait(self.stillborn_seconds)
            self.attendant.lake.kill(self.layer)
            self.attendant.begin(self.layer)


@dataclass
class KilledJob(Fault):
    """A batch run, a reconciliation or an upkeep dies at work, or while it starts."""

    attendant: Attendant
    job: str
    stillborn_seconds: float | None

    def __post_init__(self) -> None:
        self.hits = ()

    def is_ready(self) -> bool:
        if self.stillborn_seconds is not None:
            return self.attendant.has_begun(self.job)
        return self.attendant.is_at_work(self.job)

    def inject(self) -> bool:
        return self.attendant.kill_job()

    def lift(self) -> None:
        """Nothing: the attendant starts the next one."""


@dataclass
class KilledBroker(Fault):
    """The broker dies at once; what it had not written out is left to its recovery."""

    lake: EmbeddedLake

    def inject(self) -> bool:
        # Not buried before it is started again: whoever starts meanwhile still finds its address.
        _signal_broker(self.lake, signal.SIGKILL)
        return True

    def lift(self) -> None:
        self.lake.supervisor.stop(PROCESS)
        start_broker(self.lake.settings, self.lake.supervisor)


@dataclass
class StalledBroker(Fault):
    """The broker holds still: its connections stay, and nobody answers."""

    lake: EmbeddedLake

    def inject(self) -> bool:
        _signal_broker(self.lake, signal.SIGSTOP)
        return True

    def lift(self) -> None:
        _signal_broker(self.lake, signal.SIGCONT)


@dataclass
class RefusingCatalog(Fault):
    """Somebody holds the catalog for himself: nobody can read it, nor commit."""

    lake: EmbeddedLake
    _holder: sqlite3.Connection | None = None

    def inject(self) -> bool:
        file = make_url(self.lake.settings.catalog_address).database
        assert file is not None
        self._holder = sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)
        self._holder.execute("BEGIN EXCLUSIVE")
        return True

    def lift(self) -> None:
        assert self._holder is not None
        self._holder.execute("ROLLBACK")
        self._holder.close()


@dataclass
class FullDisk(Fault):
    """The disk that tables, catalog and checkpoints are on has no room left."""

    disk: Disk

    def inject(self) -> bool:
        self.disk.fill()
        return True

    def lift(self) -> None:
        self.disk.free()


@dataclass
class SteppedClock(Fault):
    """The clock of a layer or of a job at work steps back, and is set right again."""

    attendant: Attendant
    name: str
    seconds: float

    def __post_init__(self) -> None:
        self.hits = (self.name,) if self.name in LAYERS else ()

    def is_ready(self) -> bool:
        return self.name in LAYERS or self.attendant.is_at_work(self.name)

    def inject(self) -> bool:
        if self.name not in LAYERS and not self.attendant.has_begun(self.name):
            return False
        self._clock.step_back(self.seconds)
        return True

    def lift(self) -> None:
        self._clock.set_right()

    @property
    def _clock(self) -> SteppingClock:
        return self.attendant.clocks[self.name]


def fault_of(planned: Planned, attendant: Attendant, disk: Disk | None, wait: Wait) -> Fault:
    """Return what a schedule has planned.

    Args:
        planned: The plan.
        attendant: Of the lake that it shall happen to.
        disk: What the lake is on; None if that cannot be full.
        wait: Passes so many seconds.
    """
    lake, stillborn = attendant.lake, planned.stillborn_seconds
    faults: dict[Kind, Callable[[], Fault]] = {
        Kind.LANDER: lambda: KilledLayer(attendant, "land", stillborn, wait),
        Kind.SPEED: lambda: KilledLayer(attendant, "speed", stillborn, wait),
        Kind.BATCH: lambda: KilledJob(attendant, "batch", stillborn),
        Kind.MAINTAIN: lambda: KilledJob(attendant, "maintain", stillborn),
        Kind.BROKER: lambda: KilledBroker(lake),
        Kind.STALL: lambda: StalledBroker(lake),
        Kind.CATALOG: lambda: RefusingCatalog(lake),
        Kind.CLOCK: lambda: SteppedClock(attendant, str(planned.clock), planned.step_seconds),
    }
    if disk is not None:
        faults[Kind.DISK] = partial(FullDisk, disk)
    return faults[planned.kind]()


def _signal_broker(lake: EmbeddedLake, number: signal.Signals) -> None:
    record = lake.supervisor.find(PROCESS)
    assert record is not None
    os.killpg(record.pid, number)

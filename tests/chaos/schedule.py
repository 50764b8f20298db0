"""What goes wrong, in what order, when and for how long: a function of the seed alone."""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, cycle


class Kind(StrEnum):
    """A way in which something goes wrong; the value is how a report names it."""

    LANDER = "lander killed"
    SPEED = "speed layer killed"
    BATCH = "batch killed"
    MAINTAIN = "maintain killed"
    BROKER = "broker killed"
    STALL = "broker stalls"
    CATALOG = "catalog refuses commits"
    DISK = "disk full"
    CLOCK = "clock steps back"


# By which job a schedule kills, which one it is.
JOBS = {Kind.BATCH: "batch", Kind.MAINTAIN: "maintain"}
# Whose clocks step back: each has its turn, in an order of the seed's.
CLOCKS = ("land", "speed", *JOBS.values())
KILLS = frozenset({Kind.LANDER, Kind.SPEED, *JOBS})
# A lander is back in a second or two, a Spark driver takes ten.
ROUND = (Kind.LANDER, Kind.LANDER, *Kind)
# The moment is drawn from so many seconds of work: longer than a commit, a micro-batch, and most
# of what a batch run or an upkeep does once it is under way.
DELAYS = {Kind.LANDER: 2.0, Kind.SPEED: 2.5, Kind.BATCH: 8.0, Kind.MAINTAIN: 8.0}
ANY_DELAY = 1.0
# Seconds until it is over. A commit waits ten seconds for the catalog's lock, then it fails: both
# are met. What was killed is missed for a moment, or not at all.
HOLDS = {
    Kind.BROKER: (0.0, 3.0),
    Kind.STALL: (1.0, 8.0),
    Kind.CATALOG: (2.0, 13.0),
    Kind.DISK: (1.0, 6.0),
    Kind.CLOCK: (2.0, 4.0),
}
RESTART_SECONDS = (0.0, 0.5)
# Of so many killed processes, the next one is killed before it is at work.
STILLBORN = 0.25
STARTING_SECONDS = 1.5
# From a correction that nobody notices to a wrong time zone.
STEPS_BACK = (0.5, 20.0, 600.0, 7200.0)


@dataclass(frozen=True)
class Planned:
    """One fault of a schedule.

    Attributes:
        number: Its place, from 1 on.
        delay_seconds: From the moment at which what it hits is at work to the fault.
        hold_seconds: How long it lasts; of what is killed, until it is started again.
        stillborn_seconds: What is started next is killed so soon after its start, too.
        step_seconds: How far the clock steps back.
        clock: Whose clock that is.
    """

    number: int
    kind: Kind
    delay_seconds: float
    hold_seconds: float
    stillborn_seconds: float | None = None
    step_seconds: float = 0.0
    clock: str | None = None

    @property
    def job(self) -> str | None:
        """The job that it hits, if it does not hit a layer or what all rest on."""
        return self.clock if self.clock in JOBS.values() else JOBS.get(self.kind)

    def __str__(self) -> str:
        text = f"{self.number}. {self.kind}"
        if self.step_seconds:
            text += f" by {self.step_seconds:g} s under {self.clock}"
        if self.stillborn_seconds is not None:
            text += f", the next one {self.stillborn_seconds:.1f} s after its start"
        if self.kind not in KILLS:
            text += f", for {self.hold_seconds:.1f} s"
        return text


def schedule(seed: int, count: int, kinds: Collection[Kind] = tuple(Kind)) -> list[Planned]:
    """Return so many faults: rounds of all kinds, each in an order of its own.

    Args:
        seed: Another seed, another schedule.
        count: How many.
        kinds: Those that can be had on this machine.
    """
    chance = random.Random(f"{seed} schedule")
    one_round = [kind for kind in ROUND if kind in kinds]
    rounds = -(-count // len(one_round))
    order = chain.from_iterable(chance.sample(one_round, len(one_round)) for _ in range(rounds))
    clocks = cycle(random.Random(f"{seed} clocks").sample(CLOCKS, len(CLOCKS)))
    return [
        _planned(number, kind, chance, clocks)
        for number, kind in zip(range(1, count + 1), order, strict=False)
    ]


def _planned(number: int, kind: Kind, chance: random.Random, clocks: Iterator[str]) -> Planned:
    stillborn = kind in KILLS and chance.random() < STILLBORN
    return Planned(
        number,
        kind,
        delay_seconds=chance.uniform(0, DELAYS.get(kind, ANY_DELAY)),
        hold_seconds=chance.uniform(*HOLDS.get(kind, RESTART_SECONDS)),
        stillborn_seconds=chance.uniform(0, STARTING_SECONDS) if stillborn else None,
        step_seconds=chance.choice(STEPS_BACK) if kind is Kind.CLOCK else 0.0,
        clock=next(clocks) if kind is Kind.CLOCK else None,
    )

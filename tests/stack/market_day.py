"""The recorded trades as on their day: by a clock that tells the market's time, hour by hour."""

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from chaos.stepping_clock import OF_VARIABLE, PROGRAM, STAMPS, SteppingClock
from stack.running import LANDER, RunningStack

from demo.judge import Judge

MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)
NANOSECONDS = 1_000_000_000
EVENTS = 43_249


class Processed(NamedTuple):
    """The two hours, processed: Airflow's runs, and the memory that all took meanwhile."""

    runs: tuple[str, ...]
    memory_bytes: list[int]


class MarketDay:
    """A lander that stamps what it lands as if it were the day of the recording.

    Args:
        stack: Where it runs; no lander may have run there before.
        folder: For the clock and the recordings.
    """

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.clock = SteppingClock(folder / "clock")

    def begin(self, at: datetime) -> None:
        """Start the lander at a time of the day."""
        self.clock.set_to(at)
        port = self.stack.installation.port(f"{LANDER}-metrics")
        self.stack.start(
            LANDER,
            *("--metrics-port", str(port)),
            program=PROGRAM,
            environ=self.clock.environ | {OF_VARIABLE: STAMPS},
        )

    def turn_to(self, at: datetime) -> None:
        """Let it be later; what was sent until then is landed before."""
        self.clock.set_to(at)

    def send(self, recordings: Sequence[Path]) -> None:
        """Send recordings, and wait until all of it is in bronze."""
        self.stack.run("replay", *map(str, recordings))
        sent = len(self.stack.log())
        landed = self.stack.catalog.load_table("bronze.market_trades")
        self.stack.wait_until(
            lambda: landed.refresh().scan().count() >= sent, "all that was sent is landed"
        )


def split_at_midnight(recordings: Sequence[Path], folder: Path) -> tuple[list[Path], list[Path]]:
    """Write what was received before midnight, and what after, to files of their own."""
    folders = folder / "before", folder / "after"
    for one in folders:
        one.mkdir(parents=True)
    midnight_ns = int(MIDNIGHT.timestamp()) * NANOSECONDS
    halves: tuple[list[Path], list[Path]] = ([], [])
    for recording in recordings:
        lines = gzip.decompress(recording.read_bytes()).decode().splitlines(keepends=True)
        for after, half in enumerate(halves):
            file = folders[after] / recording.name
            chosen = (line for line in lines if (int(line.split()[0]) >= midnight_ns) == after)
            file.write_bytes(gzip.compress("".join(chosen).encode()))
            half.append(file)
    return halves


def assert_exact_as_stated(judge: Judge) -> None:
    verdict = judge.as_of_now()
    assert verdict.equal, str(verdict)
    assert verdict.values > 0


def assert_all_equal(judge: Judge) -> None:
    for view, verdict in judge.at_the_end().items():
        assert verdict.equal, f"{view}: {verdict}"

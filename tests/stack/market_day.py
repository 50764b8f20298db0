"""The recorded trades as on their day: by a clock that tells the market's time, hour by hour."""

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from chaos.stepping_clock import OF_VARIABLE, PROGRAM, STAMPS, SteppingClock
from stack.running import LANDER, RunningStack

MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)
NANOSECONDS = 1_000_000_000


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

"""A verb of ours under a clock that a test may set back while it runs.

Only the machine's administrator can set a real clock back, and for all processes at once; there
are no namespaces of it. So the clock is exchanged where the process reads it: `time.time`, which
PyIceberg stamps snapshots with, and the `datetime` of the modules that ask for the present. The
verb is the real one. The JVM that a verb of Spark's starts keeps the right time: what Iceberg's
Java library stamps is stamped rightly. Run as a program:

    CHAOS_CLOCK=FILE python tests/chaos/stepping_clock.py land

With ``CHAOS_CLOCK_OF=stamps`` the clock is that of what the verb stamps on its rows, and commits
have the right time.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "CHAOS_CLOCK"
OF_VARIABLE: Final = "CHAOS_CLOCK_OF"
STAMPS: Final = "stamps"
# -P: what lies beside this file is not to be found by name.
PROGRAM: Final = (sys.executable, "-P", __file__)
# By verb, the modules that ask for the present; every verb commits by PyIceberg, too.
ASKING: Final[Mapping[str, Sequence[str]]] = {
    "land": ("ingestion.lander.writer",),
    "speed": ("speed.query",),
    "batch": ("batch.runs", "batch.quality"),
    "reconcile": ("batch.runs", "batch.reconciliation"),
    "maintain": (
        "batch.maintenance.cli",
        "batch.maintenance.job",
        "batch.maintenance.report",
        "batch.runs",
    ),
}
COMMITTING: Final = "pyiceberg.table.update"
_true_time = time.time


class SteppingClock:
    """The file that tells by how many seconds a clock is wrong."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set_right()

    @property
    def environ(self) -> dict[str, str]:
        """Variables of the process whose clock it is."""
        return {VARIABLE: str(self.file)}

    def step_back(self, seconds: float) -> None:
        """Set the clock back."""
        self._write(f"{-seconds}")

    def set_right(self) -> None:
        """Set the clock right again."""
        self._write("0")

    def set_to(self, time: datetime) -> None:
        """Set the clock to a time, from which it goes on."""
        self._write(f"{time.timestamp() - _true_time()}")

    def _write(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)


def stepped_time() -> float:
    """Return seconds since 1970 UTC by the wrong clock."""
    return _true_time() + float(Path(os.environ[VARIABLE]).read_text())


class SteppedDatetime(datetime):
    """Makes plain datetimes, but the present is that of the wrong clock."""

    def __new__(cls, *fields: Any, **named: Any) -> datetime:  # type: ignore[misc]
        """Return a plain datetime: Spark tells values by their exact type."""
        return datetime(*fields, **named)  # noqa: DTZ001 - with the zone that is asked for

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """Return the present."""
        return datetime.fromtimestamp(stepped_time(), tz)


def install(verb: str) -> None:
    """Let this process, which runs a verb, read the wrong clock."""
    modules = [import_module(name) for name in ASKING[verb]]
    if os.environ.get(OF_VARIABLE) != STAMPS:
        modules.append(import_module(COMMITTING))
        time.time = stepped_time
    for module in modules:
        vars(module)["datetime"] = SteppedDatetime


def main(words: Sequence[str]) -> None:
    """Run a verb of the command line under the wrong clock."""
    from lakehouse.cli import main as lakehouse

    install(words[0])
    sys.argv = ["lakehouse", *words]
    lakehouse()


if __name__ == "__main__":
    main(sys.argv[1:])

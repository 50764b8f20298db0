"""What every source of a distribution has in common."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

QUOTED_LINES = 15


class DistributionError(LakehouseError):
    """A server's distribution is absent, or could not be fetched, built or unpacked."""


class Source(Protocol):
    """Where a distribution comes from."""

    @property
    def version(self) -> str:
        """The pinned version, as its lock states it."""

    @property
    def recipe(self) -> str:
        """All that decides what :meth:`make` makes: another recipe has another place."""

    def make(self, settings: Settings, folder: Path) -> None:
        """Fill an empty folder with the distribution.

        Raises:
            LakehouseError: It cannot be had here; says what to do.
        """


def run(
    argv: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Run a command to its end; return what it printed.

    Args:
        argv: The command.
        folder: Where it runs; here when not given.
        environ: Its environment; this process's when not given.

    Raises:
        DistributionError: It cannot be started, or failed; quotes the end of its output.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            [str(word) for word in argv],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise DistributionError(f"{argv[0]} cannot be started: {error}") from error
    if done.returncode != 0:
        quoted = "\n".join(f"  | {line}" for line in done.stdout.splitlines()[-QUOTED_LINES:])
        words = " ".join(str(word) for word in argv)
        raise DistributionError(f"`{words}` failed with {done.returncode}:\n{quoted}")
    return done.stdout

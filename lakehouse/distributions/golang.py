"""Distributions that are published as Go source: built here, from hashes locked in ``go.sum``."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.distributions.source import DistributionError, run
from lakehouse.infra import infra_file
from lakehouse.settings import Settings


@dataclass(frozen=True)
class GoPrograms:
    """Programs that are built from a Go module in ``infra/``, which names and locks them."""

    folder: str
    """Folder of the module in ``infra/``, with its ``go.mod`` and ``go.sum``."""
    module: str
    """The module whose version is the programs'."""
    programs: Mapping[str, str] = field(hash=False)
    """By name of a program that is made, the package that it is built from."""
    stamps: dict[str, str] = field(default_factory=dict, hash=False)
    """Variables that are set when linking, for the program to know its version."""

    @property
    def module_file(self) -> Path:
        """The ``go.mod``."""
        return infra_file(f"{self.folder}/go.mod")

    @property
    def version(self) -> str:
        """Version of the module that ``go.mod`` requires.

        Raises:
            DistributionError: It requires none.
        """
        pattern = rf"^(?:require)?\s+{re.escape(self.module)} (v\S+)"
        return self._stated(pattern, f"a version of {self.module}")

    @property
    def oldest_go(self) -> str:
        """The oldest Go that ``go.mod`` allows.

        Raises:
            DistributionError: It does not say.
        """
        return self._stated(r"^go (\S+)", "a Go version")

    @property
    def recipe(self) -> str:
        """Both files of the module, and what is asked of the compiler."""
        sums = infra_file(f"{self.folder}/go.sum").read_text()
        builds = [self._argv(Path(), program) for program in self.programs]
        return f"{self.module_file.read_text()} {sums} {builds}"

    def make(self, settings: Settings, folder: Path) -> None:
        """Build the program into ``folder/bin``.

        Raises:
            DistributionError: Go is missing or too old, or the build failed.
        """
        del settings  # Go has its own mirror and cache
        find_go(self.oldest_go, next(iter(self.programs)))
        for program in self.programs:
            # Without C, the program needs no compiler here and no library of the machine's.
            run(
                self._argv(folder, program),
                folder=self.module_file.parent,
                environ=os.environ | {"CGO_ENABLED": "0"},
            )

    def _argv(self, folder: Path, program: str) -> list[str]:
        linking = ["-s", "-w", *(f"-X {name}={text}" for name, text in self.stamps.items())]
        file = folder / "bin" / program
        # -mod=readonly: nothing that go.sum does not have is taken.
        return [
            *("go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false"),
            *("-ldflags", " ".join(linking), "-o", str(file), self.programs[program]),
        ]

    def _stated(self, pattern: str, what: str) -> str:
        stated = re.search(pattern, self.module_file.read_text(), re.MULTILINE)
        if stated is None:
            raise DistributionError(f"{self.module_file} does not state {what}")
        return stated[1]


def find_go(oldest: str, command: str) -> str:
    """Return the version of this machine's Go.

    Args:
        oldest: The version that is needed, such as ``1.24.0``.
        command: What it is needed for.

    Raises:
        DistributionError: There is none, or it is older.
    """
    advice = f"install Go {oldest} or newer"
    what = f"{command} is built from source, and Go"
    if shutil.which("go") is None:
        raise DistributionError(f"{what} was not found: {advice}")
    # In a folder without a module, and with what is installed: Go would fetch a newer one itself.
    version = run(["go", "env", "GOVERSION"], folder=Path("/")).strip().removeprefix("go")
    if _numbers(version) < _numbers(oldest):
        raise DistributionError(f"{what} {version} is too old: {advice}")
    return version


def _numbers(version: str) -> list[int]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return [int(part) for part in found[0].split(".")] if found else []

"""Distributions from the Python package index: an environment of their own, locked by hashes."""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from lakehouse.distributions.source import DistributionError, run
from lakehouse.infra import requirements_file
from lakehouse.settings import Settings


@dataclass(frozen=True)
class PythonEnvironment:
    """An environment apart from the platform's, whose pins would contradict it."""

    lock: str
    """Name of the lock in ``requirements/``."""
    package: str
    """The package whose version is the environment's."""

    @property
    def version(self) -> str:
        """Version of the package in the lock.

        Raises:
            DistributionError: The lock does not have it.
        """
        pattern = rf"^{re.escape(self.package)}==([^\s;]+)"
        stated = re.search(pattern, requirements_file(self.lock).read_text(), re.MULTILINE)
        if stated is None:
            raise DistributionError(f"requirements/{self.lock} does not pin {self.package}")
        return stated[1]

    @property
    def recipe(self) -> str:
        """The lock, and the Python that the environment refers to."""
        return f"{requirements_file(self.lock).read_text()} {sys.base_prefix} {sys.version}"

    def make(self, settings: Settings, folder: Path) -> None:
        """Make the environment; its commands find their Python also after it has been moved.

        Raises:
            DistributionError: There is no uv, or a package cannot be had.
        """
        uv = find_uv(settings)
        python = folder / "bin" / "python"
        run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, folder])
        run(
            [
                *(uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes"),
                *("--no-build", "--compile-bytecode", requirements_file(self.lock)),
            ]
        )


def find_uv(settings: Settings) -> str:
    """Return the uv of this machine, or the one that `make setup` has put into the cache.

    Raises:
        DistributionError: There is neither.
    """
    private = sorted(settings.cache.glob("uv-*/bin/uv"), key=lambda path: path.stat().st_mtime)
    found = shutil.which("uv") or (str(private[-1]) if private else None)
    if found is None:
        raise DistributionError("uv was not found, on PATH or in the cache: run `make setup`")
    return found

"""Distributions that Debian has packaged: downloaded and unpacked, not installed."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lakehouse.distributions.source import DistributionError, run
from lakehouse.settings import Settings


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian's; apt checks it against the signed index."""

    package: str
    upstream: str
    """The upstream version; Debian's own revision may move, for it brings security fixes."""

    @property
    def version(self) -> str:
        """The upstream version."""
        return self.upstream

    @property
    def recipe(self) -> str:
        """Package and version."""
        return self._pinned

    @property
    def _pinned(self) -> str:
        return f"{self.package}={self.upstream}*"

    def make(self, settings: Settings, folder: Path) -> None:
        """Download the package and put what is in its ``/usr`` into ``folder``; root is not needed.

        Raises:
            DistributionError: This machine has no apt, or its index does not have the version.
        """
        del settings  # apt has its own mirror
        advice = f"install {self.package} {self.upstream} and put its bin folder on PATH"
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise DistributionError(f"this is no Debian, from which it would come: {advice}")
        staging = folder / ".package"
        staging.mkdir()
        try:
            self._download(staging)
        except DistributionError as error:
            raise DistributionError(
                f"Debian's {self._pinned} cannot be downloaded: run `apt-get update` as root and "
                f"try again, or {advice}. {error}"
            ) from error
        for archive in staging.glob("*.deb"):
            run(["dpkg-deb", "-x", archive, staging])
        for entry in (staging / "usr").iterdir():
            entry.rename(folder / entry.name)
        shutil.rmtree(staging)

    def _download(self, folder: Path) -> None:
        try:
            run(["apt-get", "download", self._pinned], folder=folder)
        except DistributionError:
            if os.geteuid() != 0:
                raise
            run(["apt-get", "update"])  # a fresh machine's index is empty, an old one's is stale
            run(["apt-get", "download", self._pinned], folder=folder)

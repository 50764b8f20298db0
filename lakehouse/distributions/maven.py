"""Distributions that are published as archives on Maven."""

import platform
from dataclasses import dataclass
from pathlib import Path

from lakehouse.artifacts import Artifact, checked, locked_artifacts
from lakehouse.distributions.source import DistributionError
from lakehouse.distributions.unpacking import unpack
from lakehouse.settings import Settings

SET = "servers"
# What the machines call themselves on which the native archives run.
LINUX_AMD64 = ("Linux", "x86_64")


@dataclass(frozen=True)
class MavenArchive:
    """An archive on Maven; its version and checksum are in ``infra/artifacts/artifacts.lock``."""

    artifact: str
    """Name of the Maven artifact in the lock's set ``servers``."""
    keep: tuple[str, ...] = ("",)
    """Beginnings of the names, without the stripped folders, that are unpacked."""
    strip: int = 0
    """Leading folders in the archive that are taken off."""
    native: bool = False
    """Whether it holds programs for Linux on x86-64."""

    @property
    def locked(self) -> Artifact:
        """The lock's line.

        Raises:
            DistributionError: There is none, or more than one.
        """
        found = [item for item in locked_artifacts() if item.set_name == SET]
        found = [item for item in found if item.coordinate.name == self.artifact]
        if len(found) != 1:
            raise DistributionError(
                f"{self.artifact} stands {len(found)} times in the lock's set {SET}, not once"
            )
        return found[0]

    @property
    def version(self) -> str:
        """Version of the artifact."""
        return self.locked.coordinate.version

    @property
    def recipe(self) -> str:
        """The checksum, and what is kept of the archive."""
        return f"{self.locked.sha256} {self.keep} {self.strip}"

    def make(self, settings: Settings, folder: Path) -> None:
        """Download, check and unpack it; the archive is not kept.

        Raises:
            DistributionError: It does not run on this kind of machine, or cannot be unpacked.
            lakehouse.artifacts.ArtifactError: It is not what the lock promises.
            lakehouse.ivy.IvyError: It could not be downloaded.
        """
        if self.native and (platform.system(), platform.machine()) != LINUX_AMD64:
            raise DistributionError(
                f"{self.artifact} is for Linux on x86-64, this is {platform.system()} on "
                f"{platform.machine()}: run the stack in a Linux machine, or another profile here"
            )
        # Staged in the folder itself: what a killed process leaves goes with it at the next try.
        with checked(settings, [self.locked], staging=folder) as files:
            unpack(files[self.locked.coordinate], folder, keep=self.keep, strip=self.strip)

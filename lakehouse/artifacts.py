"""JVM artifacts: pinned Maven coordinates and checksums, cached once for all installations."""

from pathlib import Path
from typing import NamedTuple

from lakehouse.errors import LakehouseError
from lakehouse.infra import infra_file
from lakehouse.settings import Settings

LOCK = "artifacts/artifacts.lock"


class ArtifactError(LakehouseError):
    """A JVM artifact is missing, altered, or stated wrongly in the lock."""


class Artifact(NamedTuple):
    """One jar: its Maven coordinate, the SHA-256 it must have, and the set it belongs to."""

    group: str
    name: str
    version: str
    sha256: str
    set_name: str

    @property
    def file_name(self) -> str:
        """Name of the jar in the cache."""
        return f"{self.name}-{self.version}.jar"


def locked_artifacts() -> list[Artifact]:
    """Return every artifact of the lock, in its order."""
    artifacts = []
    for line in infra_file(LOCK).read_text().splitlines():
        if line and not line.startswith("#"):
            coordinate, sha256, set_name = line.split()
            group, name, version = coordinate.split(":")
            artifacts.append(Artifact(group, name, version, sha256, set_name))
    return artifacts


def cached_jars(settings: Settings, set_name: str) -> list[Path]:
    """Return the cached jars of one set, exactly those of the lock.

    Raises:
        ArtifactError: Some are not there yet.
    """
    folder = settings.cache / "jars" / set_name
    jars = [folder / item.file_name for item in locked_artifacts() if item.set_name == set_name]
    missing = [jar.name for jar in jars if not jar.is_file()]
    if missing:
        raise ArtifactError(
            f"{len(missing)} of {len(jars)} {set_name} jars are not in {folder} "
            f"(first: {missing[0]}): run `lakehouse artifacts fetch`"
        )
    return jars

"""Maven artifacts: pinned coordinates and checksums, cached once for all installations."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from lakehouse.errors import LakehouseError
from lakehouse.files import write_atomically
from lakehouse.infra import infra_file
from lakehouse.ivy import Coordinate, retrieve
from lakehouse.settings import Settings

LOCK = "artifacts/artifacts.lock"
UNKNOWN = "-"
# Fetching is waiting: more processes than cores, few enough that their JVMs fit a laptop.
SHARDS = 6
# A coordinate may leave out its extension and classifier.
FEWEST_PARTS = 3


class Profile(StrEnum):
    """What is to run here, and so what must be fetched."""

    EMBEDDED = "embedded"
    """One broker, Spark in its driver, tables in files."""
    STACK = "stack"
    """The servers of production, native, on this machine."""
    COMPOSE = "compose"
    """The command that checks compose files; nothing of it runs with the platform."""


# Sets of the lock that are kept as jars. The set `servers` is not: it is unpacked, by
# lakehouse.distributions.
JAR_SETS: dict[Profile, frozenset[str]] = {
    Profile.EMBEDDED: frozenset({"kafka", "spark"}),
    Profile.STACK: frozenset({"kafka", "spark", "spark-stack", "jmx"}),
    Profile.COMPOSE: frozenset(),
}


class ArtifactError(LakehouseError):
    """A Maven artifact is missing, altered, or stated wrongly in the lock."""


class Artifact(NamedTuple):
    """One file: its Maven coordinate, the SHA-256 it must have, and the set it belongs to."""

    coordinate: Coordinate
    sha256: str
    set_name: str

    def path(self, settings: Settings) -> Path:
        """Return where the jar is cached."""
        return settings.cache / "jars" / self.set_name / self.coordinate.file_name

    def is_cached(self, settings: Settings) -> bool:
        """Whether the cache has the jar, byte for byte."""
        path = self.path(settings)
        return path.is_file() and sha256_of(path) == self.sha256


def locked_artifacts(lock: Path | None = None) -> list[Artifact]:
    """Return every artifact of the lock, in its order.

    Raises:
        ArtifactError: A line is not
            ``group:artifact:version[:extension[:classifier]] sha256 set``.
    """
    path = lock or infra_file(LOCK)
    lines = enumerate(path.read_text().splitlines(), start=1)
    return [_parse(line, f"{path}:{n}") for n, line in lines if line and line[0] != "#"]


def cached_jars(settings: Settings, set_name: str) -> list[Path]:
    """Return the cached jars of one set, exactly those of the lock.

    Raises:
        ArtifactError: Some are not there yet.
    """
    jars = [item.path(settings) for item in locked_artifacts() if item.set_name == set_name]
    missing = [jar for jar in jars if not jar.is_file()]
    if missing:
        profile = next(profile for profile, sets in JAR_SETS.items() if set_name in sets)
        raise ArtifactError(
            f"{len(missing)} of {len(jars)} {set_name} jars are not in {missing[0].parent} "
            f"(first: {missing[0].name}): run `{fetch_command(profile)}`"
        )
    return jars


def fetch_command(profile: Profile) -> str:
    """Return the command that fetches what a profile needs."""
    option = "" if profile == Profile.EMBEDDED else f" --profile {profile}"
    return f"lakehouse artifacts fetch{option}"


def locked_jars(profile: Profile = Profile.EMBEDDED) -> list[Artifact]:
    """Return the locked jars that a profile needs, in the lock's order."""
    return [item for item in locked_artifacts() if item.set_name in JAR_SETS[profile]]


def absent_artifacts(settings: Settings, profile: Profile = Profile.EMBEDDED) -> list[Artifact]:
    """Return the jars of a profile that the cache lacks or holds altered."""
    return [item for item in locked_jars(profile) if not item.is_cached(settings)]


def fetch(
    settings: Settings, artifacts: Sequence[Artifact], advance: Callable[[], None] = lambda: None
) -> None:
    """Download artifacts into the cache; each is checked before it takes its place there.

    Args:
        settings: Where the cache is, and which mirror serves.
        artifacts: What to fetch.
        advance: Called once per jar that arrived.

    Raises:
        ArtifactError: A jar is not the one that the lock promises. It is deleted, and none of
            the others is placed.
        lakehouse.ivy.IvyError: A jar could not be downloaded.
    """
    with checked(settings, artifacts, advance) as jars:
        for item in artifacts:
            target = item.path(settings)
            target.parent.mkdir(parents=True, exist_ok=True)
            jars[item.coordinate].replace(target)


@contextmanager
def checked(
    settings: Settings,
    artifacts: Sequence[Artifact],
    advance: Callable[[], None] = lambda: None,
    staging: Path | None = None,
) -> Iterator[dict[Coordinate, Path]]:
    """Download artifacts as :func:`downloaded` does, and check each.

    Raises:
        ArtifactError: A file is not the one that the lock promises. All are deleted.
        lakehouse.ivy.IvyError: A file could not be downloaded.
    """
    wanted = [item.coordinate for item in artifacts]
    with downloaded(settings, wanted, advance, staging) as files:
        wrong = [
            f"{item.coordinate} (SHA-256 {found}, the lock says {item.sha256})"
            for item in artifacts
            if (found := sha256_of(files[item.coordinate])) != item.sha256
        ]
        if wrong:
            raise ArtifactError(f"refused and deleted, not what was locked: {'; '.join(wrong)}")
        yield files


def fill_lock(
    settings: Settings, lock: Path, advance: Callable[[], None] = lambda: None
) -> list[Artifact]:
    """Write the checksums of the lock's lines that have none; return those artifacts.

    A new or changed artifact is stated with ``-`` for its checksum, so that a checksum once
    reviewed is never replaced in passing.

    Args:
        settings: Which mirror serves.
        lock: The file to complete.
        advance: Called once per jar that arrived.

    Raises:
        ArtifactError: A line of the lock cannot be read.
        lakehouse.ivy.IvyError: A jar could not be downloaded.
    """
    new = [item for item in locked_artifacts(lock) if item.sha256 == UNKNOWN]
    text = lock.read_text()
    with downloaded(settings, [item.coordinate for item in new], advance) as jars:
        for item in new:
            checksum = sha256_of(jars[item.coordinate])
            text = text.replace(f"{item.coordinate} {UNKNOWN} ", f"{item.coordinate} {checksum} ")
    write_atomically(lock, text)
    return new


@contextmanager
def downloaded(
    settings: Settings,
    coordinates: Iterable[Coordinate],
    advance: Callable[[], None] = lambda: None,
    staging: Path | None = None,
) -> Iterator[dict[Coordinate, Path]]:
    """Download files into a folder that is deleted on leaving; several Ivy processes share them.

    Args:
        settings: Which mirror serves, and where the cache is.
        coordinates: What to download; a coordinate that is asked for twice comes once.
        advance: Called once per file that arrived, from several threads.
        staging: Where the folder is made; unless given, in the cache, so that a file can be
            renamed into its place there.

    Raises:
        lakehouse.ivy.IvyError: A file could not be downloaded.
    """
    wanted = list(dict.fromkeys(coordinates))
    parent = staging or settings.cache
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=parent) as temporary:
        jars: dict[Coordinate, Path] = {}
        with ThreadPoolExecutor(SHARDS) as pool:
            running = []
            for number in range(min(SHARDS, len(wanted))):
                folder, shard = Path(temporary, str(number)), wanted[number::SHARDS]
                running.append(pool.submit(retrieve, settings, shard, folder, advance))
                jars |= {item: folder / "jars" / item.group / item.file_name for item in shard}
            for shard_done in running:
                shard_done.result()
        yield jars


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(line: str, where: str) -> Artifact:
    match line.split():
        case [coordinate, sha256, set_name] if _is_checksum(sha256):
            parts = coordinate.split(":")
            if FEWEST_PARTS <= len(parts) <= len(Coordinate._fields) and all(parts):
                return Artifact(Coordinate(*parts), sha256, set_name)
    raise ArtifactError(
        f"{where}: expected `group:artifact:version[:extension[:classifier]] sha256 set`, "
        f"found {line!r}"
    )


def _is_checksum(text: str) -> bool:
    return text == UNKNOWN or re.fullmatch(r"[0-9a-f]{64}", text) is not None

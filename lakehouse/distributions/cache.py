"""Distributions in the cache: where they are, which are absent, how they get there."""

import fcntl
import hashlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from lakehouse.artifacts import Profile, fetch_command
from lakehouse.distributions.catalogue import DISTRIBUTIONS, Distribution
from lakehouse.distributions.source import DistributionError, run
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

# Of a SHA-256: enough to tell the recipes of one name and version apart.
FINGERPRINT_DIGITS = 12


def distribution(settings: Settings, name: str) -> Path:
    """Return the folder of a distribution; its commands are in ``bin`` there.

    Args:
        settings: Where the cache is.
        name: ``trino``, ``apicurio``, ``postgresql``, ``minio``, ``prometheus``,
            ``alertmanager``, ``postgresql-exporter``, ``mlflow`` or ``compose``.

    Raises:
        DistributionError: It has not been fetched, or there is none of this name.
    """
    item = next((item for item in DISTRIBUTIONS if item.name == name), None)
    if item is None:
        known = ", ".join(item.name for item in DISTRIBUTIONS)
        raise DistributionError(f"there is no distribution {name!r}: choose from {known}")
    found = find(settings, item)
    if found is None:
        raise DistributionError(
            f"{name} {item.source.version} is not in {settings.cache}: "
            f"run `{fetch_command(item.profile)}`"
        )
    return found


def find(settings: Settings, item: Distribution) -> Path | None:
    """Return where a distribution is: in the cache, or else on the machine; None if nowhere."""
    home = cached_home(settings, item)
    return home if home.is_dir() else _on_path(item)


def profile_distributions(profile: Profile) -> list[Distribution]:
    """Return the distributions that a profile needs."""
    return [item for item in DISTRIBUTIONS if item.profile == profile]


def absent_distributions(settings: Settings, profile: Profile) -> list[Distribution]:
    """Return the distributions of a profile that neither the cache nor the machine has."""
    return [item for item in profile_distributions(profile) if find(settings, item) is None]


def cached_home(settings: Settings, item: Distribution) -> Path:
    """Return the folder of a distribution in the cache, whether or not it is there.

    Its name changes with all that decides its content, so that what is there is what is wanted.
    """
    recipe = f"{item.source.recipe} {item.commands} {platform.system()} {platform.machine()}"
    fingerprint = hashlib.sha256(recipe.encode()).hexdigest()[:FINGERPRINT_DIGITS]
    folder = f"{item.name}-{item.source.version}-{fingerprint}"
    return settings.cache / "distributions" / folder


def fetch(
    settings: Settings,
    wanted: Sequence[Distribution],
    advance: Callable[[str], None] = lambda _: None,
) -> None:
    """Fetch distributions, all at the same time, each into its place in the cache.

    Args:
        settings: Where the cache is, and which mirror serves.
        wanted: What to fetch; what has come meanwhile is left as it is.
        advance: Called with the name of each that has arrived.

    Raises:
        DistributionError: Some could not be had; says of each why. The others are in place.
    """
    failures: list[str] = []
    with ThreadPoolExecutor(max(len(wanted), 1)) as pool:
        placing = {pool.submit(_place, settings, item): item.name for item in wanted}
        for done in as_completed(placing):
            try:
                done.result()
            except LakehouseError as error:
                failures.append(f"{placing[done]}: {error}")
            else:
                advance(placing[done])
    if failures:
        count = f"{len(failures)} of {len(wanted)} distributions could not be fetched"
        raise DistributionError("\n".join([f"{count}:", *sorted(failures)]))


def _place(settings: Settings, item: Distribution) -> None:
    home = cached_home(settings, item)
    home.parent.mkdir(parents=True, exist_ok=True)
    with _alone(home.with_name(f".{item.name}.lock")):
        if home.is_dir():
            return  # another process has made it while this one waited
        partial = home.with_name(f".{home.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        partial.mkdir()
        try:
            item.source.make(settings, partial)
            _prove(item, partial)
            partial.replace(home)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _prove(item: Distribution, home: Path) -> None:
    programs = [f"bin/{command}" for command in item.commands]
    missing = [name for name in (*item.files, *programs) if not (home / name).exists()]
    if missing:
        raise DistributionError(f"what was fetched has no {', '.join(missing)}")
    for program in programs:
        run([home / program, "--version"])


def _on_path(item: Distribution) -> Path | None:
    first = shutil.which(item.commands[0]) if item.from_path else None
    if first is None:
        return None
    folder = Path(first).resolve().parent
    fits = all(_states(folder / command, item.source.version) for command in item.commands)
    return folder.parent if fits and folder.name == "bin" else None


def _states(program: Path, version: str) -> bool:
    """Whether a program says that it is of a version; of Debian's ``2.42.0+ds``, too, for 2.42.0.

    A candidate for release (``2.42.0-rc.1``) is another version.
    """
    try:
        # What it was built with, which has a version as well, is on the lines below.
        stated = run([program, "--version"]).partition("\n")[0]
    except DistributionError:
        return False
    number = re.escape(version.removeprefix("v"))
    return re.search(rf"(?<![\w.])v?{number}(?![\w.-])", stated) is not None


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process or thread holds the lock; the system frees a dead one's."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

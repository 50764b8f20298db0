"""Find a Java for Spark and Kafka, or one for a server that needs a newer."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lakehouse.errors import LakehouseError

# Kafka 4 and Spark 4 are compiled for 17. Spark 4.1's authors test it on 17 and 21; on 25 it runs
# with the options of lakehouse.spark.java_options, which our own tests try where one is installed.
OLDEST = 17
NEWEST_PROVEN = 21
# A healthy JVM answers in a fraction of a second; a loaded CI machine may take several.
VERSION_TIMEOUT_SECONDS = 30
JVM_FOLDERS = (
    Path("/usr/lib/jvm"),
    Path("/usr/java"),
    Path("/opt/java"),
    Path("/Library/Java/JavaVirtualMachines"),
)
INSTALL_ROOTS = ", ".join(str(folder) for folder in JVM_FOLDERS)
INSTALL_HINT = (
    "install a JDK 17 or 21 (Debian and Ubuntu: `apt-get install openjdk-17-jre-headless`; "
    "Fedora: `dnf install java-21-openjdk-headless`; macOS: `brew install openjdk@21`), "
    "or point JAVA_HOME at one"
)
# Spark goes on using the one that it is tested on, if that stays installed.
NEWER_HINT = (
    "install a JDK {oldest} or newer beside it (Eclipse Temurin has packages for Debian and "
    "Ubuntu: `apt-get install temurin-25-jdk`; Fedora: `dnf install java-25-openjdk-headless`; "
    "macOS: `brew install openjdk@25`), or point JAVA_HOME at one"
)

# Of this installation's trust stores. It guards against damage, not against readers: what they
# hold is public.
TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105


class JavaError(LakehouseError):
    """No Java on this machine is new enough."""


class Java(NamedTuple):
    """One Java installation."""

    home: Path
    version: int

    @property
    def executable(self) -> Path:
        """Path of the ``java`` command."""
        return self.home / "bin" / "java"

    @property
    def proven(self) -> bool:
        """Whether Spark's authors test on this version."""
        return OLDEST <= self.version <= NEWEST_PROVEN


def find_java(
    environ: Mapping[str, str] | None = None,
    folders: Iterable[Path] = JVM_FOLDERS,
    *,
    oldest: int = OLDEST,
) -> Java:
    """Return the best Java: ``JAVA_HOME``, then ``PATH``, then the usual folders.

    Unless a server asks for more than Spark does, a proven version (17 to 21) found later is
    preferred to a newer one found earlier.

    Args:
        environ: Where ``JAVA_HOME`` and ``PATH`` are read; this process's when not given.
        folders: Folders that hold one Java home each per entry.
        oldest: The oldest feature release that will do, such as 24 for Trino.

    Raises:
        JavaError: None is found, or all are older; the message says what to install.
    """
    found = list(installed(os.environ if environ is None else environ, folders))
    usable = [java for java in found if java.version >= oldest]
    if usable:
        return min(usable, key=lambda java: oldest <= OLDEST and not java.proven)
    hint = INSTALL_HINT if oldest <= OLDEST else NEWER_HINT.format(oldest=oldest)
    if found:
        seen = ", ".join(f"{java.version} at {java.home}" for java in found)
        raise JavaError(f"Java {oldest} or newer is needed, found only {seen}: {hint}")
    raise JavaError(f"no Java was found (JAVA_HOME, PATH, {INSTALL_ROOTS}): {hint}")


def installed(environ: Mapping[str, str], folders: Iterable[Path]) -> Iterator[Java]:
    """Yield every working Java once, in order of preference."""
    seen: set[Path] = set()
    for home in _homes(environ, folders):
        resolved = home.resolve()
        if resolved not in seen:
            seen.add(resolved)
            version = java_version(resolved)
            if version is not None:
                yield Java(resolved, version)


def _homes(environ: Mapping[str, str], folders: Iterable[Path]) -> Iterator[Path]:
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"])
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path).resolve().parent.parent
    for folder in folders:
        for entry in sorted(folder.glob("*")):
            yield from (entry, entry / "Contents" / "Home")  # the second is macOS's layout


def java_version(home: Path) -> int | None:
    """Return the feature release (8, 17, 25) of the Java in ``home``; None if none runs there."""
    executable = home / "bin" / "java"
    if not os.access(executable, os.X_OK) or executable.is_dir():
        return None
    release = home / "release"
    if release.is_file():  # saves starting a JVM
        stated = _feature_release(release.read_text(errors="replace"), r'JAVA_VERSION="([^"]+)"')
        if stated is not None:
            return stated
    try:
        done = subprocess.run(  # noqa: S603 - the Java of this machine
            [executable, "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return _feature_release(done.stderr + done.stdout, r'version "([^"]+)"')


def _feature_release(text: str, pattern: str) -> int | None:
    match = re.search(pattern, text)
    numbers = re.match(r"(?:1\.)?(\d+)", match[1]) if match else None  # 8 calls itself 1.8
    return int(numbers[1]) if numbers else None

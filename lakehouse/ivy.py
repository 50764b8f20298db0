"""Download Maven artifacts with Apache Ivy, which every PySpark brings along."""

import re
import subprocess
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from lakehouse.errors import LakehouseError
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.resilience import retrying
from lakehouse.settings import Settings

# Long enough for a hiccup; what a registry does not have is not worth waiting for.
RETRY_BUDGET_SECONDS = 45.0
QUOTED_LINES = 20
ARRIVED = "[SUCCESSFUL ]"
FILE_PATTERN = "[artifact]-[revision](-[classifier]).[ext]"
# Ivy draws one of these for every few kilobytes; a large file's would bury what it says.
DOTS = re.compile(r"\.{4,}")


class IvyError(LakehouseError):
    """Ivy is missing, or could not download what it was asked for."""


class Coordinate(NamedTuple):
    """A Maven coordinate of one file: a jar, unless it says otherwise."""

    group: str
    name: str
    version: str
    extension: str = "jar"
    classifier: str = ""

    @property
    def file_name(self) -> str:
        """Name of the file."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.extension}"

    def __str__(self) -> str:
        """Return ``group:name:version[:extension[:classifier]]``, without what is the default."""
        parts = list(self)
        while parts[-1] in ("", "jar"):
            parts.pop()
        return ":".join(parts)


def ivy_jar() -> Path:
    """Return the path of Ivy.

    Raises:
        IvyError: PySpark is not installed, or has none.
    """
    spec = find_spec("pyspark")
    roots = spec.submodule_search_locations if spec else None
    found = sorted(Path(roots[0], "jars").glob("ivy-*.jar")) if roots else []
    if not found:
        raise IvyError("Apache Ivy comes with PySpark, which is not installed: run `make setup`")
    return found[-1]


@retrying(on=IvyError, budget_seconds=RETRY_BUDGET_SECONDS, first_wait_seconds=1.0)
def retrieve(
    settings: Settings,
    coordinates: Sequence[Coordinate],
    folder: Path,
    advance: Callable[[], None],
) -> None:
    """Download files to ``folder/jars/<group>/<file name>`` in one Ivy process.

    What has arrived stays in the folder, so another try asks for the rest only.

    Args:
        settings: Its ``ivy_settings`` names a mirror.
        coordinates: What to download, without what it depends on.
        folder: Ivy's working folder; nobody else may use it.
        advance: Called once per file that arrived.

    Raises:
        IvyError: Something is still missing after several tries; quotes Ivy.
        lakehouse.java.JavaError: No Java is new enough.
    """
    module = folder / "ivy.xml"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(_ivy_module(coordinates))
    rules = settings.ivy_settings or infra_file("artifacts/ivysettings.xml")
    options = {
        "-settings": rules,
        "-ivy": module,
        "-cache": folder / "cache",
        "-retrieve": folder / "jars" / "[organisation]" / FILE_PATTERN,
    }
    argv = [str(find_java().executable), "-Xmx128m", "-jar", str(ivy_jar())]
    for option, value in options.items():
        argv += [option, str(value)]
    argv += ["-types", *sorted({coordinate.extension for coordinate in coordinates})]
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own command
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as ivy:
        for line in ivy.stdout or ():
            lines.append(DOTS.sub("...", line.rstrip()))
            if ARRIVED in line:
                advance()
    if ivy.returncode != 0:
        quoted = "\n".join(f"  | {line}" for line in lines[-QUOTED_LINES:])
        raise IvyError(f"artifacts could not be downloaded; the end of Ivy's output:\n{quoted}")


def _ivy_module(coordinates: Sequence[Coordinate]) -> str:
    dependencies = "\n".join(_dependency(coordinate) for coordinate in coordinates)
    return (
        '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">\n'
        '  <info organisation="lakehouse" module="artifacts"/>\n'
        '  <configurations><conf name="default"/></configurations>\n'
        f"  <dependencies>\n{dependencies}\n  </dependencies>\n"
        "</ivy-module>\n"
    )


def _dependency(coordinate: Coordinate) -> str:
    group, name, version, extension, classifier = (quoteattr(part) for part in coordinate)
    classified = f" m:classifier={classifier}" if coordinate.classifier else ""
    return (
        f"    <dependency org={group} name={name} rev={version} "
        'conf="default->master(default)" transitive="false">'
        f"<artifact name={name} type={extension} ext={extension}{classified}/></dependency>"
    )

"""Download Maven artifacts with Apache Ivy, which every PySpark brings along."""

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


class IvyError(LakehouseError):
    """Ivy is missing, or could not download what it was asked for."""


class Coordinate(NamedTuple):
    """A Maven coordinate of one jar."""

    group: str
    name: str
    version: str

    @property
    def file_name(self) -> str:
        """Name of the jar."""
        return f"{self.name}-{self.version}.jar"

    def __str__(self) -> str:
        return ":".join(self)


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
    """Download jars to ``folder/jars/<group>/<file name>`` in one Ivy process.

    What has arrived stays in the folder, so another try asks for the rest only.

    Args:
        settings: Its ``ivy_settings`` names a mirror.
        coordinates: What to download, without what it depends on.
        folder: Ivy's working folder; nobody else may use it.
        advance: Called once per jar that arrived.

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
        "-retrieve": folder / "jars" / "[organisation]" / "[artifact]-[revision].[ext]",
    }
    argv = [str(find_java().executable), "-Xmx128m", "-jar", str(ivy_jar())]
    for option, value in options.items():
        argv += [option, str(value)]
    argv += ["-types", "jar", "bundle"]
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own command
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as ivy:
        for line in ivy.stdout or ():
            lines.append(line.rstrip())
            if ARRIVED in line:
                advance()
    if ivy.returncode != 0:
        quoted = "\n".join(f"  | {line}" for line in lines[-QUOTED_LINES:])
        raise IvyError(f"artifacts could not be downloaded; the end of Ivy's output:\n{quoted}")


def _ivy_module(coordinates: Sequence[Coordinate]) -> str:
    dependencies = "\n".join(
        f"    <dependency org={quoteattr(group)} name={quoteattr(name)} rev={quoteattr(version)} "
        'conf="default->master(default)" transitive="false"/>'
        for group, name, version in coordinates
    )
    return (
        '<ivy-module version="2.0">\n'
        '  <info organisation="lakehouse" module="artifacts"/>\n'
        '  <configurations><conf name="default"/></configurations>\n'
        f"  <dependencies>\n{dependencies}\n  </dependencies>\n"
        "</ivy-module>\n"
    )

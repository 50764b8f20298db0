"""Verbs as drivers on a Spark standalone cluster: submitted, looked at, killed.

Whoever submits may go; the cluster runs the driver on one of its workers and remembers how it
ended. Spark's own client submits Python only where it runs itself (client mode), so the driver is
Spark's launcher of Python programs, with our verb as the program: ``infra/spark/driver.py``.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from lakehouse.errors import LakehouseError
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.processes import LOOPBACK
from lakehouse.settings import EVERYWHERE, Settings

CLIENT = "org.apache.spark.deploy.Client"
LAUNCHER = "org.apache.spark.deploy.PythonRunner"
# Variables of whoever submits that no driver is to have.
OWN = re.compile(r"_?AIRFLOW|PG|LAKEHOUSE_SPARK_DRIVER_HOST$|HOSTNAME$")
DRIVER_ID = re.compile(r"driver-\d{14}-\d{4}")
# The verb's own JVM beside its heap, its Python, and the launcher.
OVERHEAD_MIB = 512
# The least that a driver asks for: more than a worker of executors has, so that it comes to the
# worker of drivers, whose networks and files it needs (lakehouse/stack/spark.py).
DRIVER_MIB = 1024 + OVERHEAD_MIB
# To connect, be registered, and look once whether it has started.
CLIENT_SECONDS = 120.0
PAGE_SECONDS = 10.0
LOG_BYTES = 16_384
ENDED = frozenset({"FINISHED", "FAILED", "KILLED", "ERROR"})


class DriverError(LakehouseError):
    """The cluster did not take a driver, does not know it, or does not answer."""


@dataclass(frozen=True)
class Driver:
    """A driver as the master knows it.

    Attributes:
        driver_id: ``driver-20240809010203-0004``.
        state: SUBMITTED (no worker has room yet), RUNNING, FINISHED (well), FAILED, KILLED, or
            ERROR (it could not be started).
        worker: Whose page has its log; None while no worker has it.
    """

    driver_id: str
    state: str
    worker: str | None

    @property
    def ended(self) -> bool:
        """Whether it will not run any more."""
        return self.state in ENDED


def submit(settings: Settings, words: Sequence[str]) -> str:
    """Submit a verb; return the driver's id once the master has taken it.

    Args:
        settings: Name the master, and what the driver finds in its environment.
        words: ``batch``, ``--start``, …

    Raises:
        DriverError: The master did not take it.
    """
    if not settings.spark_master.startswith("spark://"):
        raise DriverError(
            f"{settings.spark_master} takes no drivers: LAKEHOUSE_SPARK_MASTER must be a cluster's"
        )
    jar = next(spark_home().glob("jars/spark-core_*.jar"))
    memory_mib = max(_mib(settings.spark_driver_memory) + OVERHEAD_MIB, DRIVER_MIB)
    asked = ["--memory", f"{memory_mib}m", "--cores", "0"]
    launched = [jar.as_uri(), LAUNCHER, str(infra_file("spark/driver.py")), "", *words]
    return _client(settings, *asked, "launch", settings.spark_master, *launched)


def kill(settings: Settings, driver_id: str) -> None:
    """Kill a driver; one that has ended stays as it is.

    Raises:
        DriverError: The master does not answer.
    """
    _client(settings, "kill", settings.spark_master, driver_id)


def find(settings: Settings, driver_id: str) -> Driver:
    """Return what the master knows of a driver.

    Raises:
        DriverError: The master does not answer, or does not know it (any more).
    """
    master = json.loads(_page(f"{settings.spark_master_page}/json/"))
    pages = {worker["id"]: worker["webuiaddress"] for worker in master["workers"]}
    for row in (*master["activedrivers"], *master["completeddrivers"]):
        if row["id"] == driver_id:
            return Driver(driver_id, row["state"], pages.get(row.get("worker")))
    raise DriverError(f"the master at {settings.spark_master_page} does not know {driver_id}")


def log(driver: Driver) -> str:
    """Return the end of what a verb has said; of one that was not begun, what its launcher has.

    Raises:
        DriverError: Its worker does not answer.
    """
    return _said(driver, "stdout") or _said(driver, "stderr")


def _said(driver: Driver, stream: str) -> str:
    if driver.worker is None:
        return ""
    asked = {"driverId": driver.driver_id, "logType": stream, "byteLength": LOG_BYTES}
    _, _, text = _page(f"{driver.worker}/log/?{urlencode(asked)}").partition("\n")
    return text


def spark_home() -> Path:
    """Return the folder of Spark itself, which PySpark brings along."""
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None  # noqa: S101 - the platform depends on it
    assert spec.submodule_search_locations is not None  # noqa: S101
    return Path(spec.submodule_search_locations[0])


def _client(settings: Settings, *words: str) -> str:
    """Run Spark's client of drivers; return the id of the driver that it speaks of."""
    secret = settings.spark_secret
    # It lives for seconds: code that is compiled well would cost more than it brings.
    frugally = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    argv = [str(find_java().executable), *frugally]
    argv += [f"-Dlog4j2.configurationFile={infra_file('spark/client.log4j2.properties').as_uri()}"]
    argv += ["-Dspark.authenticate=true", "-Dspark.network.crypto.enabled=true"] if secret else []
    argv += ["-cp", f"{spark_home()}/jars/*", CLIENT, *words]
    try:
        done = subprocess.run(  # noqa: S603
            argv,
            env=_environ(settings),
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DriverError(
            f"the Spark master at {settings.spark_master} did not answer within "
            f"{CLIENT_SECONDS:.0f} s"
        ) from error
    found = DRIVER_ID.search(done.stderr) or DRIVER_ID.search(done.stdout)
    if found is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DriverError(
            f"the Spark master at {settings.spark_master} did not take it: "
            f"{said[-1] if said else f'exit code {done.returncode}'}"
        )
    return found[0]


def _environ(settings: Settings) -> dict[str, str]:
    """Return the environment of the client, which the driver gets too.

    Nothing of it is an argument that others could read. But the master keeps it, so what is this
    process's own stays here: Airflow's secrets, and where this container is.
    """
    environ = {name: value for name, value in os.environ.items() if not OWN.match(name)} | {
        "LAKEHOUSE_HOME": str(settings.home.absolute()),
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # Of whoever runs with it, wherever that is.
        "SPARK_LOCAL_IP": EVERYWHERE if settings.network == "services" else LOOPBACK,
    }
    if settings.spark_secret:
        environ["_SPARK_AUTH_SECRET"] = settings.spark_secret.get_secret_value()
    return environ


def _page(url: str) -> str:
    try:
        with urlopen(url, timeout=PAGE_SECONDS) as answer:  # noqa: S310 - of our own settings
            return str(answer.read().decode(errors="replace"))
    except OSError as error:
        raise DriverError(f"{url} does not answer: {error}") from error


def _mib(memory: str) -> int:
    """Return a JVM's memory setting, such as ``1g`` or ``512m``, in MiB."""
    return int(memory[:-1]) * (1024 if memory[-1] in "gG" else 1)

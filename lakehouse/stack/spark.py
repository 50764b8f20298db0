"""A Spark standalone cluster: one master, two workers for executors, one for drivers."""

import socket
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from lakehouse.cluster.drivers import DRIVER_MIB, spark_home
from lakehouse.components import Component, Launch, answers
from lakehouse.files import write_secretly
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.stack.installation import Installation

MASTER = "spark-master"
WORKERS = ("spark-worker-1", "spark-worker-2")
# Of the daemons; executors have heaps of their own (LAKEHOUSE_SPARK_EXECUTOR_MEMORY).
DAEMON_HEAP = "192m"
# On each worker: an executor of the speed layer, and one of a job.
WORKER_CORES = 2
WORKER_MEMORY = "1200m"
# Where jobs have their drivers: one of an hour and one of past hours; more wait. It has no cores,
# so no executor is started there, and a driver asks for none and for more memory than a worker has.
DRIVERS = "spark-drivers"
DRIVERS_AT_ONCE = 2
PROBE_SECONDS = 1.0


def components(installation: Installation) -> list[Component]:
    """Return the cluster of an installation."""
    master = Component(
        MASTER,
        launch=partial(_master, installation),
        health=answers(partial(_answers, installation, MASTER)),
        memory_mib=300,
        secrets=("spark",),
    )
    workers = [
        Component(
            name,
            after=(MASTER,),
            launch=partial(_worker, installation, name, WORKER_CORES, WORKER_MEMORY),
            health=answers(partial(_answers, installation, name)),
            # The daemon, an executor of the speed layer and one of a batch run.
            memory_mib=300 + 2 * 700,
            secrets=("spark",),
        )
        for name in WORKERS
    ]
    memory_mib = DRIVERS_AT_ONCE * DRIVER_MIB
    drivers = Component(
        DRIVERS,
        after=(MASTER,),
        launch=partial(_worker, installation, DRIVERS, 0, f"{memory_mib}m"),
        health=answers(partial(_answers, installation, DRIVERS)),
        memory_mib=300 + memory_mib,
        secrets=("spark",),
    )
    return [master, *workers, drivers]


def _master(installation: Installation) -> Launch:
    words = ["--host", installation.host(MASTER), "--port", str(installation.port(MASTER))]
    words += ["--webui-port", str(installation.port(f"{MASTER}-web"))]
    return _daemon(installation, MASTER, "org.apache.spark.deploy.master.Master", words)


def _worker(installation: Installation, name: str, cores: int, memory: str) -> Launch:
    words = ["--host", _own_address(installation), "--port", str(installation.port(name))]
    words += ["--webui-port", str(installation.port(f"{name}-web"))]
    words += ["--cores", str(cores), "--memory", memory]
    words += ["--work-dir", str(_folder(installation) / "work" / name)]
    words.append(f"spark://{installation.address(MASTER)}")
    return _daemon(installation, name, "org.apache.spark.deploy.worker.Worker", words)


def _daemon(installation: Installation, name: str, main: str, words: list[str]) -> Launch:
    home = spark_home()
    configuration = _folder(installation) / f"{name}.properties"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    own = {
        "spark.authenticate.secret": installation.secret("spark"),
        "spark.deploy.recoveryDirectory": str(_folder(installation) / "recovery"),
    }
    lines = [f"{key} {value}" for key, value in own.items()]
    template = infra_file("spark/cluster.properties").read_text()
    write_secretly(configuration, "\n".join([template, "# This home's own:", *lines, ""]).encode())
    environ = {
        "SPARK_HOME": str(home),
        "JAVA_HOME": str(find_java().home),
        "SPARK_DAEMON_MEMORY": DAEMON_HEAP,
        "SPARK_DAEMON_JAVA_OPTS": (
            "-XX:+UseSerialGC -Duser.timezone=UTC "
            f"-Dlog4j2.configurationFile={infra_file('spark/log4j2.properties').as_uri()} "
            f"-Dspark.metrics.conf={infra_file('spark/metrics.properties')}"
        ),
        "SPARK_LOCAL_IP": installation.listen_host,
        "SPARK_LOCAL_DIRS": str(_folder(installation) / "local"),
    }
    argv = [str(home / "bin" / "spark-class"), main, *words]
    return Launch(
        [*argv, "--properties-file", str(configuration)], environ, installation.port(name)
    )


def _own_address(installation: Installation) -> str:
    """Return this machine's address on the way to the master; nothing is sent.

    A worker listens at one address. In a container of several networks its name is several.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((installation.host(MASTER), installation.port(MASTER)))
        return str(way.getsockname()[0])


def _folder(installation: Installation) -> Path:
    return installation.home / "spark"


def _answers(installation: Installation, name: str) -> bool:
    url = f"http://{installation.address(f'{name}-web')}/json/"
    try:
        with urlopen(url, timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False

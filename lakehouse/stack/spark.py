"""A Spark standalone cluster: one master, two workers."""

from functools import partial
from pathlib import Path
from urllib.request import urlopen

from lakehouse.cluster.drivers import spark_home
from lakehouse.components import Component, Launch, answers
from lakehouse.files import write_secretly
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.stack.installation import Installation

MASTER = "spark-master"
WORKERS = ("spark-worker-1", "spark-worker-2")
# Of the daemons; executors have heaps of their own (LAKEHOUSE_SPARK_EXECUTOR_MEMORY).
DAEMON_HEAP = "192m"
# On each worker: an executor of the speed layer, a driver of a job, and executors of two jobs.
WORKER_CORES = 4
WORKER_MEMORY = "3300m"
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
            launch=partial(_worker, installation, name),
            health=answers(partial(_answers, installation, name)),
            # The daemon, an executor of the speed layer and one of a batch run.
            memory_mib=300 + 2 * 700,
            secrets=("spark",),
        )
        for name in WORKERS
    ]
    return [master, *workers]


def _master(installation: Installation) -> Launch:
    words = ["--host", installation.host(MASTER), "--port", str(installation.port(MASTER))]
    words += ["--webui-port", str(installation.port(f"{MASTER}-web"))]
    return _daemon(installation, MASTER, "org.apache.spark.deploy.master.Master", words)


def _worker(installation: Installation, name: str) -> Launch:
    words = ["--host", installation.host(name), "--port", str(installation.port(name))]
    words += ["--webui-port", str(installation.port(f"{name}-web"))]
    words += ["--cores", str(WORKER_CORES), "--memory", WORKER_MEMORY]
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
        "SPARK_LOCAL_IP": installation.host(name),
        "SPARK_LOCAL_DIRS": str(_folder(installation) / "local"),
    }
    argv = [str(home / "bin" / "spark-class"), main, *words]
    return Launch(
        [*argv, "--properties-file", str(configuration)], environ, installation.port(name)
    )


def _folder(installation: Installation) -> Path:
    return installation.home / "spark"


def _answers(installation: Installation, name: str) -> bool:
    url = f"http://{installation.address(f'{name}-web')}/json/"
    try:
        with urlopen(url, timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False

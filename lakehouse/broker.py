"""The embedded Kafka broker: KRaft, one JVM, plain on loopback."""

import base64
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from lakehouse.artifacts import cached_jars
from lakehouse.components import Launch
from lakehouse.files import write_atomically
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.kafka import BrokerError, broker_answers
from lakehouse.processes import LOOPBACK, ProcessRecord, Supervisor
from lakehouse.settings import Settings

PROCESS = "kafka"
# Enough for the platform's topics under load; the process then takes about 700 MB in all.
HEAP = "512m"
# Seconds on an idle laptop; a loaded CI machine takes longer.
START_DEADLINE_SECONDS = 90.0


def launch(settings: Settings, supervisor: Supervisor) -> Launch:
    """Write the broker's configuration and say how to start it; storage is made on first start.

    Raises:
        BrokerError: Its storage cannot be made.
        lakehouse.java.JavaError: No Java is new enough.
        lakehouse.artifacts.ArtifactError: The jars have not been fetched.
    """
    java = str(find_java().executable)
    class_path = os.pathsep.join(str(jar) for jar in cached_jars(settings, "kafka"))
    environ = {"CLASSPATH": class_path}  # 46 paths would bury the arguments in every listing
    port, controller_port = supervisor.port(PROCESS), supervisor.port(f"{PROCESS}-controller")
    own = {
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "log.dirs": str(data_folder(settings)),
    }
    configuration = write_configuration(settings, ["kafka/server.properties"], own)
    if not (data_folder(settings) / "meta.properties").exists():
        format_storage(java, environ, configuration)
    logging = f"-Dlog4j2.configurationFile={infra_file('kafka/log4j2.yaml')}"
    argv = [java, f"-Xms{HEAP}", f"-Xmx{HEAP}", logging, "kafka.Kafka", str(configuration)]
    return Launch(argv, environ, port)


def start_broker(settings: Settings, supervisor: Supervisor) -> ProcessRecord:
    """Start the broker of this home and return once it answers.

    Raises:
        lakehouse.processes.ProcessError: It runs already, died, or was not ready in time.
        LakehouseError: As ``launch`` does.
    """
    how = launch(settings, supervisor)
    record = supervisor.start(PROCESS, how.argv, environ=how.environ, port=how.port)
    client = {"bootstrap.servers": f"{LOOPBACK}:{how.port}"}
    supervisor.wait_until(
        record, lambda: broker_answers(client), deadline_seconds=START_DEADLINE_SECONDS
    )
    return record


def data_folder(settings: Settings) -> Path:
    """Return the folder of the broker's log segments."""
    return settings.home / "kafka" / "data"


def write_configuration(
    settings: Settings, templates: Sequence[str], own: Mapping[str, str]
) -> Path:
    """Write the broker's configuration: files of ``infra/`` as they are, then this home's own."""
    path = settings.home / "kafka" / "server.properties"
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [infra_file(name).read_text() for name in templates]
    lines = [f"{key}={value}" for key, value in own.items()]
    write_atomically(path, "\n".join([*parts, "# This home's own:", *lines, ""]))
    return path


def format_storage(java: str, environ: dict[str, str], configuration: Path) -> None:
    """Make the broker's storage, with a new cluster id.

    Raises:
        BrokerError: Kafka's tool fails; quotes it.
    """
    # Kafka's ids are 128 bits in URL-safe base64; its tools read a leading dash as an option.
    cluster_id = "L" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    argv = [java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(configuration)]
    done = subprocess.run(  # noqa: S603 - Kafka's own tool
        argv, env=os.environ | environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BrokerError(f"the broker's storage cannot be made:\n{done.stdout}{done.stderr}")

"""The embedded Kafka broker (KRaft, one JVM) and the topics of the platform."""

import base64
import os
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from lakehouse.artifacts import cached_jars
from lakehouse.errors import LakehouseError
from lakehouse.files import write_atomically
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.processes import LOOPBACK, ProcessRecord, Supervisor
from lakehouse.settings import Settings

PROCESS = "kafka"
TRADES_TOPIC = "market.trades"
DEAD_LETTERS_TOPIC = "ingest.dead_letters"
# Enough for the platform's topics under load; the process then takes about 700 MB in all.
HEAP = "512m"
# Seconds on an idle laptop; a loaded CI machine takes longer.
START_DEADLINE_SECONDS = 90.0
REQUEST_SECONDS = 10.0
PROBE_SECONDS = 1.0


class BrokerError(LakehouseError):
    """The embedded broker could not be prepared, or a broker did not answer."""


class TopicError(LakehouseError):
    """A topic is not there, or is not as the settings demand."""


def start_broker(settings: Settings, supervisor: Supervisor) -> ProcessRecord:
    """Start the broker of this home and return once it answers; storage is made on first start.

    Raises:
        BrokerError: Its storage cannot be made.
        lakehouse.processes.ProcessError: It runs already, died, or was not ready in time.
        lakehouse.java.JavaError: No Java is new enough.
        lakehouse.artifacts.ArtifactError: The jars have not been fetched.
    """
    java = str(find_java().executable)
    class_path = os.pathsep.join(str(jar) for jar in cached_jars(settings, "kafka"))
    environ = {"CLASSPATH": class_path}  # 46 paths would bury the arguments in every listing
    port, controller_port = supervisor.port(PROCESS), supervisor.port(f"{PROCESS}-controller")
    configuration = _write_configuration(settings, port, controller_port)
    if not (data_folder(settings) / "meta.properties").exists():
        _format_storage(java, environ, configuration)
    logging = f"-Dlog4j2.configurationFile={infra_file('kafka/log4j2.yaml')}"
    argv = [java, f"-Xms{HEAP}", f"-Xmx{HEAP}", logging, "kafka.Kafka", str(configuration)]
    record = supervisor.start(PROCESS, argv, environ=environ, port=port)
    address = f"{LOOPBACK}:{port}"
    supervisor.wait_until(
        record, lambda: broker_answers(address), deadline_seconds=START_DEADLINE_SECONDS
    )
    write_atomically(endpoint_file(settings), f"{address}\n")
    return record


def stop_broker(settings: Settings, supervisor: Supervisor) -> bool:
    """Stop the broker of this home; return whether it was running."""
    endpoint_file(settings).unlink(missing_ok=True)
    return supervisor.stop(PROCESS)


def broker_answers(bootstrap_servers: str) -> bool:
    """Whether a broker at this address answers a metadata request within a second."""
    try:
        AdminClient(_quiet(bootstrap_servers)).list_topics(timeout=PROBE_SECONDS)
    except KafkaException:
        return False
    return True


def ensure_topics(settings: Settings) -> None:
    """Make the platform's topics where they are missing.

    Raises:
        TopicError: A topic exists with another number of partitions.
        BrokerError: The broker does not answer, or refuses.
    """
    wanted = {TRADES_TOPIC: settings.topic_partitions, DEAD_LETTERS_TOPIC: 1}
    admin = AdminClient(_quiet(settings.bootstrap_servers))
    requests = admin.create_topics(
        [NewTopic(topic, count) for topic, count in wanted.items()],
        request_timeout=REQUEST_SECONDS,
    )
    for topic, request in requests.items():
        try:
            request.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerError(f"topic {topic} cannot be made: {error}") from error
            _refuse_other_partitions(admin, topic, wanted[topic])


def topic_id(settings: Settings, topic: str) -> str:
    """Return Kafka's own id of a topic: another one after the topic was deleted and made again.

    Raises:
        TopicError: There is no such topic.
        BrokerError: The broker does not answer.
    """
    admin = AdminClient(_quiet(settings.bootstrap_servers))
    request = admin.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_SECONDS)
    try:
        return str(request[topic].result().topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicError(f"there is no topic {topic}; `lakehouse up` makes it") from error
        raise BrokerError(f"topic {topic} cannot be described: {error}") from error


def endpoint_file(settings: Settings) -> Path:
    """Return the file that tells this home's processes where the broker listens."""
    return settings.home / "run" / "kafka.endpoint"


def data_folder(settings: Settings) -> Path:
    """Return the folder of the broker's log segments."""
    return settings.home / "kafka" / "data"


def _refuse_other_partitions(admin: AdminClient, topic: str, wanted: int) -> None:
    found = len(admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions)
    if found != wanted:
        raise TopicError(
            f"topic {topic} has {found} partitions, the settings say {wanted}. A key's events "
            "must stay in one partition, so the count is never changed in place: set "
            f"LAKEHOUSE_TOPIC_PARTITIONS={found}, or repartition by a new version of the topic "
            "and a backfill"
        )


def _write_configuration(settings: Settings, port: int, controller_port: int) -> Path:
    own = {
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "log.dirs": str(data_folder(settings)),
    }
    lines = [f"{key}={value}" for key, value in own.items()]
    path = settings.home / "kafka" / "server.properties"
    path.parent.mkdir(parents=True, exist_ok=True)
    template = infra_file("kafka/server.properties").read_text()
    write_atomically(path, "\n".join([template, "# This home's own:", *lines, ""]))
    return path


def _format_storage(java: str, environ: dict[str, str], configuration: Path) -> None:
    # Kafka's ids are 128 bits in URL-safe base64; its tools read a leading dash as an option.
    cluster_id = "L" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    argv = [java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(configuration)]
    done = subprocess.run(  # noqa: S603 - Kafka's own tool
        argv, env=os.environ | environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BrokerError(f"the broker's storage cannot be made:\n{done.stdout}{done.stderr}")


def _quiet(bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    # librdkafka otherwise prints every refused connection while the broker is starting.
    return {"bootstrap.servers": bootstrap_servers, "log_level": 0}

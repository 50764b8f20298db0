"""Who is let in and who is not, and what a thief of the disk or a listing of processes shows."""

import json
import os
import socket
import ssl
import stat
import struct
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import urllib3
from confluent_kafka import OFFSET_END, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from joserfc import jwt
from joserfc.jwk import RSAKey
from minio import Minio
from minio.error import S3Error
from pydantic import SecretStr
from stack.running import RunningStack

from lakehouse.kafka import (
    GROUP_PREFIX,
    LIVE_BARS_TOPIC,
    TRADES_TOPIC,
    broker_answers,
    client_settings,
)
from lakehouse.settings import Role, Settings
from lakehouse.stack import kafka, mlflow, postgresql, spark
from lakehouse.stack import minio as store
from lakehouse.stack.certificates import Authority, Certificate
from lakehouse.stack.installation import Installation
from schemas import topics
from schemas.confluent_registry import ConfluentRegistry
from schemas.registry import IncompatibleSchemaError

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

ROLES: tuple[Role, ...] = ("operator", "ingest", "batch", "speed", "serving", "orchestration")
GUESSED = "guessed-guessed"
SUBJECT = str(topics()[TRADES_TOPIC].subject)


def object_store(settings: Settings, **other: str | None) -> Minio:
    assert settings.s3_secret_key is not None
    scheme, _, endpoint = str(settings.s3_endpoint).partition("://")
    given: dict[str, str | None] = {
        "access_key": settings.s3_access_key,
        "secret_key": settings.s3_secret_key.get_secret_value(),
    }
    trust = urllib3.PoolManager(ca_certs=str(settings.ca_file), retries=0)
    return Minio(endpoint=endpoint, secure=scheme == "https", http_client=trust, **(given | other))


def delivery_error(settings: Settings, topic: str) -> KafkaError | None:
    """Send a message and return what the broker thinks of it."""
    errors: list[KafkaError | None] = []

    def note(error: KafkaError | None, _message: Message) -> None:
        errors.append(error)

    producer = Producer({**client_settings(settings), "log_level": 0, "message.timeout.ms": 20_000})
    producer.produce(topic, value=b"", key=b"nobody", on_delivery=note)
    producer.flush(30)
    return errors[0]


def test_kafka_lets_in_whoever_knows_a_password_over_tls_only(stack: RunningStack) -> None:
    ingest = stack.role("ingest")
    assert broker_answers(client_settings(ingest))
    wrong = ingest.model_copy(update={"kafka_password": SecretStr("guessed")})
    assert not broker_answers(client_settings(wrong))
    plain = {"bootstrap.servers": ingest.bootstrap_servers}
    assert not broker_answers(plain)
    assert not broker_answers({**client_settings(ingest), "security.protocol": "SASL_PLAINTEXT"})
    stranger = {**client_settings(ingest), "ssl.ca.location": "probe"}
    assert not broker_answers(stranger), "the server's certificate is signed by our authority"


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        *((role, TRADES_TOPIC) for role in ("batch", "speed", "serving", "orchestration")),
        *((role, LIVE_BARS_TOPIC) for role in ("ingest", "speed")),
    ],
)
def test_only_producers_write_events_and_only_who_serves_live_rows(
    stack: RunningStack, role: Role, topic: str
) -> None:
    error = delivery_error(stack.role(role), topic)
    assert error is not None
    assert error.code() in {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }


def reading_error(settings: Settings) -> KafkaError | None:
    """Read a partition to its end and return what the broker thinks of that."""
    client = {**client_settings(settings), "log_level": 0, "enable.partition.eof": True}
    consumer = Consumer({**client, "group.id": f"{GROUP_PREFIX}probe"})
    consumer.assign([TopicPartition(TRADES_TOPIC, 0, OFFSET_END)])
    try:
        message = consumer.poll(30)
    finally:
        consumer.close()
    assert message is not None
    error: KafkaError | None = message.error()
    return None if error and error.code() == KafkaError._PARTITION_EOF else error


@pytest.mark.parametrize("role", ["batch", "orchestration"])
def test_who_has_no_business_with_the_log_does_not_read_it(stack: RunningStack, role: Role) -> None:
    assert reading_error(stack.role("serving")) is None
    error = reading_error(stack.role(role))
    assert error is not None
    assert error.code() in {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }


def test_a_right_that_nobody_grants_any_more_ends_with_the_next_start(stack: RunningStack) -> None:
    admin = AdminClient({**kafka.operator_client(stack.installation), "log_level": 0})
    granted = set(admin.describe_acls(kafka.ANY_RULE).result())
    once = AclBinding(
        *(ResourceType.TOPIC, TRADES_TOPIC, ResourcePatternType.LITERAL, "User:orchestration"),
        *("*", AclOperation.READ, AclPermissionType.ALLOW),
    )
    admin.create_acls([once])[once].result()

    def reads() -> bool:
        return reading_error(stack.role("orchestration")) is None

    stack.wait_until(reads, "the broker knows of the right")
    stack.restart("kafka")
    stack.wait_until(lambda: not reads(), "the broker knows that it is gone")
    assert set(admin.describe_acls(kafka.ANY_RULE).result()) == granted
    assert reading_error(stack.role("serving")) is None


LISTENERS = ("kafka-internal", "kafka-controller")
COMPONENTS = ("postgresql", "minio", "registry", "trino", "mlflow", "api")
DESCRIBE_QUORUM = 55


def quorum_error(stack: RunningStack, listener: str, tls: ssl.SSLContext | None) -> int:
    """Ask a node about the quorum of controllers, and return its error code; 0 is an answer.

    It is a request that both kinds of node answer, in bytes, since no client of ours speaks to
    controllers: https://kafka.apache.org/protocol.
    """
    topic = b"__cluster_metadata"
    header = struct.pack(">hhihb", DESCRIBE_QUORUM, 0, 1, -1, 0)
    named = struct.pack(">bb", 2, len(topic) + 1) + topic
    request = header + named + struct.pack(">bibbb", 2, 0, 0, 0, 0)
    host, _, port = stack.installation.address(listener).partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        connection = tls.wrap_socket(plain, server_hostname=host) if tls else plain
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb").read(struct.calcsize(">iibh"))
    if len(answer) < struct.calcsize(">iibh"):
        raise ConnectionError(f"{listener} hung up: {answer!r}")
    return int(struct.unpack(">iibh", answer)[-1])


def shown(stack: RunningStack, certificate: Certificate | None) -> ssl.SSLContext:
    """Trust the installation's authority, and show a certificate or none."""
    context = ssl.create_default_context(cafile=str(stack.installation.authority.file))
    if certificate:
        context.load_cert_chain(certificate.both)
    return context


@pytest.mark.parametrize("listener", LISTENERS)
def test_the_nodes_own_listeners_answer_the_node_and_the_operator(
    stack: RunningStack, listener: str
) -> None:
    for name in ("kafka", "operator"):
        own = shown(stack, stack.installation.certificate(name))
        assert quorum_error(stack, listener, own) == 0


@pytest.mark.parametrize("listener", LISTENERS)
def test_they_hang_up_on_who_shows_no_certificate_of_the_installation(
    stack: RunningStack, listener: str, tmp_path: Path
) -> None:
    forged = shown(stack, Authority(tmp_path).certificate("operator"))
    for tls in (None, shown(stack, None), forged):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            quorum_error(stack, listener, tls)


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_they_tell_nothing_to_another_component(
    stack: RunningStack, listener: str, component: str
) -> None:
    other = shown(stack, stack.installation.certificate(component))
    assert quorum_error(stack, listener, other) == KafkaError.CLUSTER_AUTHORIZATION_FAILED


@pytest.mark.parametrize("component", COMPONENTS)
def test_another_component_sees_no_topic(stack: RunningStack, component: str) -> None:
    operator = kafka.operator_client(stack.installation)
    other = stack.installation.certificate(component)
    shows = {
        "ssl.certificate.location": str(other.certificate),
        "ssl.key.location": str(other.key),
    }
    assert TRADES_TOPIC in AdminClient({**operator}).list_topics(timeout=10).topics
    assert AdminClient({**operator, **shows}).list_topics(timeout=10).topics == {}


def test_the_store_lets_in_whoever_knows_a_secret_over_tls_only(stack: RunningStack) -> None:
    serving = stack.role("serving")
    assert object_store(serving).bucket_exists(bucket_name="lake")
    with pytest.raises(S3Error, match=r"SignatureDoesNotMatch|AccessDenied"):
        list(object_store(serving, secret_key=GUESSED).list_objects(bucket_name="lake"))
    anonymous = object_store(serving, access_key=None, secret_key=None)
    with pytest.raises(S3Error, match="AccessDenied"):
        list(anonymous.list_objects(bucket_name="lake"))
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(str(serving.s3_endpoint).replace("https", "http"), timeout=5)


FORBIDDEN = [
    ("ingest", "warehouse/silver/trades/data/x"),
    ("ingest", "warehouse/gold/bars_1m/data/x"),
    ("ingest", "warehouse/ops/runs/data/x"),
    ("batch", "warehouse/bronze/market_trades/data/x"),
    ("speed", "warehouse/bronze/market_trades/data/x"),
    ("speed", "warehouse/gold/bars_1m/data/x"),
    ("speed", "warehouse/gold/bars_1m/data_rt/x"),
    ("serving", "warehouse/gold/bars_1m/data/x"),
    ("operator", "warehouse/gold/bars_1m/data/x"),
    ("operator", "warehouse/ops/runs/data/x"),
]
ALLOWED = [
    ("ingest", "warehouse/bronze/market_trades/data/x"),
    ("ingest", "warehouse/ops/redrives/data/x"),
    ("batch", "warehouse/gold/bars_1m/data/x"),
    ("speed", "warehouse/gold/bars_1m_rt/data/x"),
    ("operator", "warehouse/ops/erasures/data/x"),
    ("operator", "warehouse/ops/commands/data/x"),
    ("orchestration", "warehouse/bronze/market_trades/data/x"),
]


@pytest.mark.parametrize(("role", "key"), FORBIDDEN)
def test_a_role_writes_no_tables_but_its_own(stack: RunningStack, role: Role, key: str) -> None:
    client = object_store(stack.role(role))
    with pytest.raises(S3Error, match="AccessDenied"):
        client.fput_object(bucket_name="lake", object_name=key, file_path=__file__)
    with pytest.raises(S3Error, match="AccessDenied"):
        client.remove_object(bucket_name="lake", object_name=key)


@pytest.mark.parametrize("table", ["silver/trades", "gold/bars_1m", "ops/runs"])
def test_who_lands_events_reads_nothing_that_is_made_of_them(
    stack: RunningStack, table: str
) -> None:
    key = f"warehouse/{table}/metadata/x"
    with pytest.raises(S3Error, match="AccessDenied"):
        object_store(stack.role("ingest")).get_object(bucket_name="lake", object_name=key)
    with pytest.raises(S3Error, match="NoSuchKey"):
        object_store(stack.role("serving")).get_object(bucket_name="lake", object_name=key)


@pytest.mark.parametrize(("role", "key"), ALLOWED)
def test_a_role_writes_its_own_tables(stack: RunningStack, role: Role, key: str) -> None:
    client = object_store(stack.role(role))
    client.fput_object(bucket_name="lake", object_name=key, file_path=__file__)
    client.remove_object(bucket_name="lake", object_name=key)


def test_objects_are_encrypted_on_the_disk_and_kept_when_deleted(stack: RunningStack) -> None:
    admin, key, text = store.client(stack.installation), "warehouse/secret.txt", b"known plaintext"
    where = stack.settings.home / "secret.txt"
    where.write_bytes(text * 1000)
    admin.fput_object(bucket_name="lake", object_name=key, file_path=str(where))
    where.unlink()
    found = admin.stat_object(bucket_name="lake", object_name=key)
    assert {k.lower(): v for k, v in (found.metadata or {}).items()}[
        "x-amz-server-side-encryption"
    ] == "aws:kms"
    files = [p for p in (stack.settings.home / "minio/data/lake" / key).rglob("*") if p.is_file()]
    assert files
    assert not [file for file in files if text in file.read_bytes()]
    assert admin.get_object(bucket_name="lake", object_name=key).read() == text * 1000
    admin.remove_object(bucket_name="lake", object_name=key)
    versions = admin.list_objects(bucket_name="lake", prefix=key, include_version=True)
    assert {version.is_delete_marker for version in versions} == {True, False}


def registry_status(settings: Settings, token: str | None, scheme: str = "https") -> int:
    """Ask the registry for its subjects and return the status of the answer."""
    url = f"{settings.schema_registry}/subjects".replace("https", scheme, 1)
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    context = (
        ssl.create_default_context(cafile=str(settings.ca_file)) if scheme == "https" else None
    )
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_registry_answers_whoever_shows_a_token_of_ours(stack: RunningStack) -> None:
    speed = stack.role("speed")
    assert speed.schema_registry_token is not None
    token = speed.schema_registry_token.get_secret_value()
    assert registry_status(speed, token) == 200
    assert registry_status(speed, None) == 401
    forged = jwt.encode(
        {"alg": "RS256"},
        {"sub": "speed", "groups": ["sr-admin"], "aud": "registry", "exp": 2**33},
        RSAKey.generate_key(2048, auto_kid=False),
    )
    assert registry_status(speed, forged) == 401
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        registry_status(speed, token, scheme="http")


def test_the_registry_refuses_what_cannot_read_earlier_events(stack: RunningStack) -> None:
    registry = ConfluentRegistry(stack.role("orchestration"))
    (first, *_) = registry.ids(topics()[TRADES_TOPIC])
    schema = json.loads(registry.schema_for(first))
    schema["fields"].append({"name": "demanded", "type": "string"})
    with pytest.raises(IncompatibleSchemaError):
        registry.register(SUBJECT, json.dumps(schema))


def test_a_role_that_only_reads_schemas_registers_none(stack: RunningStack) -> None:
    settings = stack.role("speed")
    assert settings.schema_registry_token is not None
    request = urllib.request.Request(
        f"{settings.schema_registry}/subjects/another-value/versions",
        data=json.dumps({"schema": '"string"'}).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {settings.schema_registry_token.get_secret_value()}",
        },
    )
    context = ssl.create_default_context(cafile=str(settings.ca_file))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10, context=context)


def database(stack: RunningStack, **other: str) -> "psycopg2.extensions.connection":
    given = {
        "host": "127.0.0.1",
        "port": str(stack.installation.port("postgresql")),
        "dbname": "iceberg",
        "user": "iceberg",
        "password": stack.installation.secret("postgresql-iceberg"),
        "sslmode": "verify-full",
        "sslrootcert": str(stack.settings.ca_file),
    }
    return psycopg2.connect(**(given | other))


def test_the_database_lets_in_each_user_to_its_own_store_over_tls_only(
    stack: RunningStack,
) -> None:
    database(stack).close()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        database(stack, password=GUESSED)
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        database(stack, sslmode="disable")
    password = stack.installation.secret("postgresql-mlflow")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        database(stack, user="mlflow", password=password)
    with closing(postgresql.connect(stack.installation)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
            "WHERE NOT ssl AND client_addr IS NOT NULL"
        )
        assert cursor.fetchone() == (0,)


def spark_master(stack: RunningStack) -> dict[str, Any]:
    """Return what the master's page says of workers and applications."""
    address = stack.installation.address(f"{spark.MASTER}-web")
    with urllib.request.urlopen(f"http://{address}/json/", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


class StrangersInstallation(Installation):
    """Another home, with secrets of its own, whose workers go to the master of a stack."""

    def __init__(self, home: Path, stack: RunningStack) -> None:
        super().__init__(Settings(home=home))
        self.master = stack.installation.address(spark.MASTER)

    def address(self, use: str) -> str:
        return self.master if use == spark.MASTER else super().address(use)


def test_the_cluster_takes_no_worker_that_does_not_know_the_secret(
    stack: RunningStack, tmp_path: Path
) -> None:
    known = {worker["id"] for worker in spark_master(stack)["workers"]}
    assert known
    worker = spark.components(StrangersInstallation(tmp_path, stack))[1]
    assert worker.launch is not None
    launch, log = worker.launch(), tmp_path / "worker.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            launch.argv, env=os.environ | launch.environ, stdout=output, stderr=output
        ) as stranger,
    ):
        try:
            stack.wait_until(
                lambda: "Failed to connect to master" in log.read_text(),
                "the master refuses a worker",
                deadline_seconds=60,
            )
            assert {worker["id"] for worker in spark_master(stack)["workers"]} == known
        finally:
            stranger.kill()


@pytest.mark.parametrize("page", ["app/kill", "driver/kill"])
def test_nobody_ends_what_runs_by_a_page_of_the_cluster(stack: RunningStack, page: str) -> None:
    running = {one["id"] for one in spark_master(stack)["activeapps"] if one["name"] == "speed"}
    assert running
    address = stack.installation.address(f"{spark.MASTER}-web")
    form = urllib.parse.urlencode({"id": min(running), "terminate": "true"}).encode()
    with pytest.raises(urllib.error.HTTPError, match=r"40[345]"):
        urllib.request.urlopen(f"http://{address}/{page}/", data=form, timeout=10)
    after = spark_master(stack)["activeapps"]
    assert running <= {one["id"] for one in after if one["state"] == "RUNNING"}


EXPERIMENTS = "/api/2.0/mlflow/experiments/search?max_results=1"


def ask_mlflow(
    stack: RunningStack,
    path: str,
    password: str | None,
    *,
    host: str | None = None,
    scheme: str = "https",
    artifact: bytes | None = None,
) -> int:
    """Ask MLflow as its administrator, or give it an artifact; return the status of the answer."""
    user = f"{mlflow.ADMIN_USER}:{password}"
    headers = {} if password is None else dict(urllib3.make_headers(basic_auth=user))
    answer = urllib3.PoolManager(ca_certs=str(stack.settings.ca_file), retries=0).request(
        "GET" if artifact is None else "PUT",
        f"{scheme}://{stack.installation.address(mlflow.NAME)}{path}",
        body=artifact,
        headers=headers | ({} if host is None else {"Host": host}),
        timeout=30,
    )
    return answer.status


def test_mlflow_lets_in_whoever_knows_a_password_over_tls_only(stack: RunningStack) -> None:
    password = stack.installation.secret(f"{mlflow.NAME}-{mlflow.ADMIN_USER}")
    assert ask_mlflow(stack, EXPERIMENTS, password) == 200
    assert ask_mlflow(stack, EXPERIMENTS, GUESSED) == 401
    assert ask_mlflow(stack, EXPERIMENTS, None) == 401
    with pytest.raises(urllib3.exceptions.HTTPError):
        ask_mlflow(stack, EXPERIMENTS, password, scheme="http")


def test_mlflow_answers_to_no_name_but_those_of_its_certificate(stack: RunningStack) -> None:
    password = stack.installation.secret(f"{mlflow.NAME}-{mlflow.ADMIN_USER}")
    for host, status in {"mlflow:5000": 200, "localhost:15000": 200, "example.org": 403}.items():
        assert ask_mlflow(stack, EXPERIMENTS, password, host=host) == status, host


def test_an_artifact_goes_through_mlflow_into_its_bucket(stack: RunningStack) -> None:
    password = stack.installation.secret(f"{mlflow.NAME}-{mlflow.ADMIN_USER}")
    path, artifact = "/api/2.0/mlflow-artifacts/artifacts/0/probe/artifacts/model", os.urandom(64)
    assert ask_mlflow(stack, path, GUESSED, artifact=artifact) == 401
    assert ask_mlflow(stack, path, password, artifact=artifact) == 200
    admin, key = store.client(stack.installation), "0/probe/artifacts/model"
    assert admin.get_object(bucket_name=store.MODELS_BUCKET, object_name=key).read() == artifact
    admin.remove_object(bucket_name=store.MODELS_BUCKET, object_name=key)


@pytest.mark.parametrize("folder", ["authority", "secrets", "roles", "tls"])
def test_secrets_are_their_owners_alone(stack: RunningStack, folder: str) -> None:
    path = stack.settings.home / folder
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    public = {"ca.pem", "ca.p12"}
    for file in path.iterdir():
        if file.name not in public and file.suffix != ".crt":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_no_listing_of_processes_shows_a_secret(stack: RunningStack) -> None:
    secrets = {file.read_text() for file in (stack.settings.home / "secrets").iterdir()}
    home = str(stack.settings.home)
    lines = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    ours = [line for line in lines if home in line]
    assert len(ours) >= 10
    assert not [line for line in ours if any(secret in line for secret in secrets)]


def test_two_installations_share_no_secret(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Installation(Settings(home=tmp_path_factory.mktemp("other")))
    secret: Callable[[str], str] = other.secret
    for name in ("minio-root", "postgresql-postgres", "kafka-ingest", "trino-analyst"):
        assert secret(name) != stack.installation.secret(name)

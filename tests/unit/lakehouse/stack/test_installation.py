"""What an installation makes for itself: certificates, secrets, and the roles' settings."""

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from joserfc import jwt

from lakehouse import embedded
from lakehouse.settings import Settings, roles_folder
from lakehouse.stack import airflow, api, certificates, profile, spark
from lakehouse.stack.certificates import Authority
from lakehouse.stack.installation import PORTS, ROLES, Installation, service_of


@pytest.fixture
def installation(settings: Settings) -> Installation:
    return Installation(settings)


def test_a_secret_is_made_once_and_is_its_owners_alone(installation: Installation) -> None:
    secret = installation.secret("kafka-ingest")
    assert installation.secret("kafka-ingest") == secret
    assert installation.secret("kafka-speed") != secret
    assert len(secret) >= 32
    for file in (installation.home / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_each_role_reads_its_own_settings(installation: Installation) -> None:
    installation.write_roles()
    folder = roles_folder(installation.home)
    read = {role: Settings(_env_file=folder / f"{role}.env") for role in ROLES}  # type: ignore[call-arg]
    passwords = {
        str(found.kafka_password and found.kafka_password.get_secret_value())
        for found in read.values()
    }
    assert len(passwords) == len(ROLES)
    assert read["speed"].s3_access_key == "speed"
    assert read["speed"].spark_master.startswith("spark://127.0.0.1:")
    assert read["ingest"].spark_master == "local[2]"
    assert read["serving"].trino is not None
    assert read["batch"].trino is None, "batch has no business in Trino"
    assert {found.ca_file for found in read.values()} == {installation.authority.file}
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("of_installation", "told"),
    [
        ({}, "file://{home}/lineage"),
        ({"openlineage_url": "https://marquez.example"}, "https://marquez.example"),
        ({"network": "services"}, None),
        ({"network": "services", "openlineage_url": "http://marquez"}, "http://marquez"),
    ],
)
def test_each_role_tells_its_lineage_to_one_place(
    settings: Settings, of_installation: dict[str, str], told: str | None
) -> None:
    installation = Installation(settings.model_copy(update=of_installation))
    installation.write_roles()
    expected = told and told.format(home=settings.home)
    for role in ROLES:
        file = roles_folder(installation.home) / f"{role}.env"
        assert Settings(_env_file=file).openlineage_url == expected  # type: ignore[call-arg]


def test_no_secret_is_shown_with_the_settings(installation: Installation) -> None:
    installation.write_roles()
    settings = Settings(_env_file=roles_folder(installation.home) / "batch.env")  # type: ignore[call-arg]
    for name in ("kafka-batch", "minio-batch", "postgresql-iceberg", "spark"):
        assert installation.secret(name) not in repr(settings)


def test_a_token_for_the_registry_says_who_and_what(installation: Installation) -> None:
    found = jwt.decode(installation.registry_token("speed"), installation.registry_key)
    assert (found.claims["sub"], found.claims["groups"]) == ("speed", ["sr-readonly"])
    admin = jwt.decode(installation.registry_token("operator"), installation.registry_key)
    assert admin.claims["groups"] == ["sr-admin"]


def test_in_containers_each_component_is_at_its_own_name(settings: Settings) -> None:
    installation = Installation(settings.model_copy(update={"network": "services"}))
    assert installation.address("kafka-internal") == "kafka:9094"
    assert installation.address("spark-worker-1-web") == "spark-worker-1:8091"
    assert installation.listen_address("minio") == "0.0.0.0:9000"


def test_ports_are_distinct_and_each_belongs_to_a_component() -> None:
    assert len(set(PORTS.values())) == len(PORTS)
    assert {service_of(use) for use in PORTS} >= {"kafka", "registry", "land", "spark-master"}


def test_a_server_is_trusted_by_its_authority_alone(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server = ours.certificate("kafka")
    assert handshake(server, ours.file) is None
    assert "unable to get local issuer" in str(handshake(server, theirs.file))


def handshake(server: certificates.Certificate, trusted: Path) -> ssl.SSLError | None:
    """Let a client and a server meet in memory; return why the client refuses, if it does."""
    ends = [(ssl.MemoryBIO(), ssl.MemoryBIO()) for _ in range(2)]
    asked = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    asked.load_cert_chain(server.certificate, server.key)
    asking = ssl.create_default_context(cafile=str(trusted))
    client = asking.wrap_bio(*ends[0], server_hostname="127.0.0.1")
    peer = asked.wrap_bio(*ends[1], server_side=True)
    for _ in range(4):
        for end in (client, peer):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                return error
        ends[1][0].write(ends[0][1].read())
        ends[0][0].write(ends[1][1].read())
    return None


def test_what_is_about_to_end_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    first = x509.load_pem_x509_certificate(authority.certificate("trino").certificate.read_bytes())
    assert serial(authority) == first.serial_number
    monkeypatch.setattr(certificates, "RENEW_DAYS", certificates.CERTIFICATE_DAYS + 1)
    assert serial(authority) != first.serial_number


def serial(authority: Authority) -> int:
    pem = authority.certificate("trino").certificate.read_bytes()
    return x509.load_pem_x509_certificate(pem).serial_number


def test_the_stack_has_a_budget_and_airflow_with_its_jobs_and_who_serves_programs_have_their_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "distribution", lambda *_: settings.cache)
    known = profile.components(settings, {})
    servers = [component for component in known if component.launch is not None]
    assert all(server.memory_mib for server in servers)
    apart = {
        6: {spark.DRIVERS, airflow.API, *airflow.OTHERS},
        1: {api.NAME, embedded.LIVE, embedded.COMMANDS},
    }
    others = {server.name for server in servers} - set().union(*apart.values())
    for gib, names in {12: others, **apart}.items():
        assert sum(s.memory_mib for s in servers if s.name in names) <= gib * 1024

"""What is one installation's own: its ports, certificates and secrets, and the roles' settings."""

import secrets
import time
from collections.abc import Mapping
from functools import cached_property
from typing import get_args

from joserfc import jwt
from joserfc.jwk import RSAKey

from lakehouse.files import write_secretly
from lakehouse.processes import LOOPBACK, Supervisor
from lakehouse.settings import EVERYWHERE, Role, Settings, roles_folder
from lakehouse.stack.certificates import Authority, Certificate

ROLES: tuple[Role, ...] = get_args(Role)
BUCKET = "lake"
WAREHOUSE = f"s3://{BUCKET}/warehouse"
REGION = "us-east-1"
# Where users look for them; another port is taken when one is not free.
PORTS = {
    "postgresql": 5432,
    "postgresql-exporter": 9187,
    "minio": 9000,
    "kafka": 9092,
    "kafka-internal": 9094,
    "kafka-controller": 9095,
    "kafka-metrics": 9404,
    "registry": 8081,
    "registry-management": 8082,
    "spark-master": 7077,
    "spark-master-web": 8090,
    "spark-worker-1": 7078,
    "spark-worker-1-web": 8091,
    "spark-worker-2": 7079,
    "spark-worker-2-web": 8092,
    "spark-drivers": 7080,
    "spark-drivers-web": 8093,
    "trino": 8443,
    "mlflow": 5000,
    "airflow-api": 8080,
    "prometheus": 9090,
    "alertmanager": 9093,
    "land-metrics": 9101,
    "speed-metrics": 9102,
    "metrics-metrics": 9103,
    "live-metrics": 9106,
    "commands-metrics": 9107,
    "api": 8000,
}
# What follows a component's name where it has several ports.
USES = ("-internal", "-controller", "-management", "-web", "-metrics")
# Whoever may ask the registry, and as what; see infra/apicurio/application.properties.
REGISTRY_ROLES: Mapping[Role, str] = {
    "operator": "sr-admin",
    "orchestration": "sr-developer",
    "ingest": "sr-readonly",
    "batch": "sr-readonly",
    "speed": "sr-readonly",
    "serving": "sr-readonly",
}
REGISTRY_AUDIENCE = "registry"
# Each start writes new ones.
TOKEN_SECONDS = 365 * 24 * 3600


class Installation:
    """One home of the stack. Whatever is missing is made when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home
        self.supervisor = Supervisor(settings.home)
        self._secrets = self.home / "secrets"
        self.in_containers = settings.network == "services"

    @cached_property
    def authority(self) -> Authority:
        """The authority that signs this installation's certificates."""
        return Authority(self.home)

    def certificate(self, name: str) -> Certificate:
        """Return the certificate of a server or of one of its clients."""
        return self.authority.certificate(name)

    @property
    def listen_host(self) -> str:
        """The address that servers listen at."""
        return EVERYWHERE if self.in_containers else LOOPBACK

    def host(self, use: str) -> str:
        """Return the host that a component is reached at."""
        return service_of(use) if self.in_containers else LOOPBACK

    def port(self, use: str) -> int:
        """Return the port of a component, or of one of its uses (see ``PORTS``)."""
        if self.in_containers:
            return PORTS[use]
        return self.supervisor.port(use, preferred=PORTS[use])

    def address(self, use: str) -> str:
        """Return ``host:port`` at which a component is reached."""
        return f"{self.host(use)}:{self.port(use)}"

    def listen_address(self, use: str) -> str:
        """Return ``host:port`` at which a component listens."""
        return f"{self.listen_host}:{self.port(use)}"

    def secret(self, name: str) -> str:
        """Return a secret, generated when it is first asked for, readable by its owner only."""
        file = self._secrets / name
        if not file.exists():
            self._secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_secretly(file, secrets.token_urlsafe(24).encode())
        return file.read_text()

    def known_secrets(self) -> list[str]:
        """Return the names of the secrets that there are."""
        return [file.name for file in self._secrets.iterdir()] if self._secrets.is_dir() else []

    def forget(self, name: str) -> None:
        """Delete a secret."""
        (self._secrets / name).unlink()

    @cached_property
    def registry_key(self) -> RSAKey:
        """The key that the tokens for the schema registry are signed with."""
        file = self._secrets / "registry-signing-key"
        if not file.exists():
            self._secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = RSAKey.generate_key(2048, auto_kid=False)
            write_secretly(file, key.as_pem(private=True))
        return RSAKey.import_key(file.read_bytes())

    def registry_token(self, role: Role) -> str:
        """Return a token that proves a role to the schema registry."""
        now = int(time.time())
        claims = {
            "sub": role,
            "preferred_username": role,
            "groups": [REGISTRY_ROLES[role]],
            "aud": REGISTRY_AUDIENCE,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        return jwt.encode({"alg": "RS256"}, claims, self.registry_key)

    @property
    def openlineage_url(self) -> str | None:
        """Where lineage goes: as it is set, or into the home; containers share no folder."""
        own = None if self.in_containers else (self.home.absolute() / "lineage").as_uri()
        return self.settings.openlineage_url or own

    def write_roles(self) -> None:
        """Write each role's settings: where everything is, and this role's own credentials."""
        roles_folder(self.home).mkdir(parents=True, exist_ok=True, mode=0o700)
        for role in ROLES:
            values = self._role(role)
            lines = [f"LAKEHOUSE_{name.upper()}='{value}'" for name, value in values.items()]
            write_secretly(
                roles_folder(self.home) / f"{role}.env", "\n".join([*lines, ""]).encode()
            )

    def _role(self, role: Role) -> dict[str, str]:
        values = {
            "kafka_bootstrap": self.address("kafka"),
            "kafka_username": role,
            "kafka_password": self.secret(f"kafka-{role}"),
            "schema_registry": f"https://{self.address('registry')}/apis/ccompat/v7",
            "schema_registry_token": self.registry_token(role),
            "catalog_uri": f"postgresql+psycopg2://iceberg@{self.address('postgresql')}/iceberg",
            "catalog_password": self.secret("postgresql-iceberg"),
            "warehouse": WAREHOUSE,
            "s3_endpoint": f"https://{self.address('minio')}",
            "s3_region": REGION,
            "s3_access_key": role,
            "s3_secret_key": self.secret(f"minio-{role}"),
            "ca_file": str(self.authority.file),
            "ca_truststore": str(self.authority.truststore),
        }
        if role in ("batch", "speed", "orchestration"):
            values |= {
                "spark_master": f"spark://{self.address('spark-master')}",
                "spark_master_page": f"http://{self.address('spark-master-web')}",
                "spark_secret": self.secret("spark"),
            }
        if role in ("batch", "speed", "orchestration"):
            values["spark_driver_memory"] = "1g"
        if self.openlineage_url:
            values["openlineage_url"] = self.openlineage_url
        if role in ("batch", "serving"):
            values |= {
                "mlflow": f"https://{self.address('mlflow')}",
                "mlflow_username": role,
                "mlflow_password": self.secret(f"mlflow-{role}"),
            }
        if role in ("serving", "orchestration"):
            values |= {
                "trino": f"https://{self.address('trino')}",
                "trino_username": role,
                "trino_password": self.secret(f"trino-{role}"),
            }
        return values


def service_of(use: str) -> str:
    """Return the component that a port belongs to: ``kafka`` for ``kafka-internal``."""
    for suffix in USES:
        if use.endswith(suffix):
            return use.removesuffix(suffix)
    return use

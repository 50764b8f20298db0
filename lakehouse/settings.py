"""One typed object for every setting; environment variables are prefixed ``LAKEHOUSE_``.

On the real stack each role (see `Role`) has addresses and credentials of its own in a file of the
home, ``roles/<role>.env``, with the same names as the environment variables, which win over it.
"""

import socket
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lakehouse.errors import LakehouseError
from lakehouse.processes import LOOPBACK, Supervisor

Role = Literal["operator", "ingest", "batch", "speed", "serving", "orchestration"]
"""Who a process is for the servers of the stack; each may do what its work needs and no more."""

EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a container, whose networks are its walls


class NotRunningError(LakehouseError):
    """A component that this command needs is not running."""


class Settings(BaseSettings):
    """Where the lake lives and how its processes behave.

    The defaults are the embedded profile: everything below ``home``, on this machine only.
    """

    model_config = SettingsConfigDict(env_prefix="LAKEHOUSE_", frozen=True, extra="forbid")

    home: Path = Field(
        default=Path(".lakehouse"),
        description="Folder of one installation: its log, lake, checkpoints, pids and ports.",
    )
    cache: Path = Field(
        default=Path.home() / ".cache" / "lakehouse",
        description="Folder of downloaded artifacts, shared by all installations.",
    )
    kafka_bootstrap: str | None = Field(
        default=None, description="Kafka bootstrap servers; unset means the embedded broker."
    )
    kafka_username: str | None = Field(
        default=None, description="SCRAM user; with it, Kafka is spoken to over TLS only."
    )
    kafka_password: SecretStr | None = Field(default=None, description="Of that user.")
    schema_registry: str | None = Field(
        default=None, description="Address of the schema registry; unset means the contracts."
    )
    schema_registry_token: SecretStr | None = Field(
        default=None, description="Bearer token that proves this role to the schema registry."
    )
    catalog_uri: str | None = Field(
        default=None,
        description="SQLAlchemy address of the Iceberg catalog; unset means a file in home.",
    )
    catalog_password: SecretStr | None = Field(
        default=None, description="Of the catalog address's user."
    )
    warehouse: str | None = Field(
        default=None, description="Root address of the tables; unset means a folder in home."
    )
    s3_endpoint: str | None = Field(
        default=None, description="Address of the object store that an s3:// warehouse is in."
    )
    s3_region: str = Field(default="us-east-1", description="Region that requests are signed for.")
    s3_access_key: str | None = Field(default=None, description="User of the object store.")
    s3_secret_key: SecretStr | None = Field(default=None, description="Of that user.")
    trino: str | None = Field(
        default=None, description="Address of Trino; unset means the embedded SQL engine."
    )
    trino_username: str | None = Field(default=None, description="User that queries run as.")
    trino_password: SecretStr | None = Field(default=None, description="Of that user.")
    mlflow: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="Address of MLflow's server; unset means files in home.",
    )
    mlflow_username: str | None = Field(default=None, description="User of MLflow's server.")
    mlflow_password: SecretStr | None = Field(default=None, description="Of that user.")
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the authority that signed the servers' certificates.",
    )
    ca_truststore: Path | None = Field(
        default=None, description="The same authority as a PKCS #12 trust store, for JVMs."
    )
    network: Literal["loopback", "services"] = Field(
        default="loopback",
        description="Where a stack's servers are: on this machine, or each at its own name.",
    )
    spark_master: str = Field(default="local[2]", description="Spark master address.")
    spark_master_page: str | None = Field(
        default=None, description="Address of that master's page, which tells of its drivers."
    )
    spark_secret: SecretStr | None = Field(
        default=None, description="Secret that a Spark cluster's processes know one another by."
    )
    spark_driver_memory: str = Field(default="2g", description="Heap of a Spark driver.")
    spark_driver_host: str | None = Field(
        default=None,
        description=(
            "Name or address at which executors reach a driver; unset means 127.0.0.1, or the "
            "container's own name."
        ),
    )
    spark_executor_memory: str = Field(
        default="512m", description="Heap of each executor on a cluster."
    )
    spark_executors: int = Field(
        default=2, ge=1, description="Executors of an application on a cluster, one core each."
    )
    first_hour: AwareDatetime | None = Field(
        default=None,
        description="Hour of ingestion that Airflow begins with; unset means that of its first "
        "start.",
    )
    last_hour: AwareDatetime | None = Field(
        default=None, description="Hour that it ends with; unset means that it goes on."
    )
    topic_partitions: int = Field(
        default=4, ge=1, description="Partitions of a topic when it is first made; never changed."
    )
    drop_folder: Path | None = Field(
        default=None, description="Folder that files are dropped into; unset means `drop` in home."
    )
    max_payload_bytes: int = Field(
        default=1_000_000, ge=1, description="Larger events are dead letters, in both layers."
    )
    lander_commit_seconds: float = Field(
        default=0.5, gt=0, description="The lander commits at least this often while events come."
    )
    lander_commit_events: int = Field(
        default=250_000, ge=1, description="The lander commits when this many events are waiting."
    )
    lander_heartbeat_seconds: float = Field(
        default=5.0, gt=0, description="An idle lander commits its progress this often."
    )
    speed_trigger_seconds: float = Field(
        default=0.0, ge=0, description="Micro-batch interval of the speed layer; 0 is continuous."
    )
    api_requests_at_once: int = Field(
        default=200,
        ge=1,
        description="Requests that a key, or an address without a known one, may send to the API "
        "at one go.",
    )
    api_requests_per_second: float = Field(
        default=50.0,
        gt=0,
        description="Requests a second that a key, or an address without a known one, may send on "
        "and on.",
    )
    api_queries_at_once: int = Field(
        default=2, ge=1, description="Queries of the API that are at the SQL engine at a time."
    )
    api_longest_seconds: float = Field(
        default=30.0, gt=0, description="What the API has no answer to by then is given up."
    )
    api_max_body_bytes: int = Field(
        default=65_536, ge=1, description="Larger requests are refused by the API."
    )
    schemas_folder: Path | None = Field(
        default=None,
        description="Folder of contracts and Avro schemas of your own; unset means those shipped.",
    )
    key_store: Path | None = Field(
        default=None, description="File of the customers' keys; unset means one in home."
    )
    kms_region: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$",
        description="Region of the AWS KMS that keeps the customers' keys, instead of a file.",
    )
    kms_endpoint: str | None = Field(
        default=None,
        # Keys cross this connection in plain text.
        pattern=r"^(https://[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]+)?/?$",
        description="Address of that KMS, https; unset means the region's own.",
    )
    kms_deletion_days: int = Field(
        default=7,
        ge=7,
        le=30,
        description="An erased customer's KMS key is deleted after so many days; it is of no use "
        "from the start.",
    )
    ivy_settings: Path | None = Field(
        default=None, description="Ivy settings of a company mirror; unset means Maven Central."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="Address of a collector of traces, OTLP over HTTP; unset means no traces.",
    )
    openlineage_url: str | None = Field(
        default=None,
        pattern=r"^(https?://[^\s/]+(/\S*)?|file:///\S+)$",
        description="Where lineage goes: an OpenLineage service, or a folder as file:///…; unset "
        "means nowhere.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Lowest level that is logged."
    )

    @field_validator(
        "home", "cache", "ca_file", "ca_truststore", "schemas_folder", "key_store", "drop_folder"
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value else None

    @field_validator("kms_region", "kms_endpoint")
    @classmethod
    def _one_key_store(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.field_name == "kms_region" and info.data.get("key_store"):
            raise ValueError("LAKEHOUSE_KEY_STORE is set too: keys are in a file or in a KMS")
        if value and info.field_name == "kms_endpoint" and info.data.get("kms_region", "") is None:
            raise ValueError("LAKEHOUSE_KMS_REGION is not set")
        return value

    @property
    def bootstrap_servers(self) -> str:
        """Kafka bootstrap servers, explicit or those of the embedded broker of this home.

        Raises:
            NotRunningError: No address is set and this home has no running broker.
        """
        if self.kafka_bootstrap:
            return self.kafka_bootstrap
        broker = Supervisor(self.home).find("kafka")
        if broker is None:
            raise NotRunningError(
                f"no Kafka broker is known to {self.home}: start one with `lakehouse up`, "
                "or set LAKEHOUSE_KAFKA_BOOTSTRAP"
            )
        return f"{LOOPBACK}:{broker.port}"

    @property
    def driver_host(self) -> str:
        """Name or address at which executors reach a driver of this process."""
        own = socket.gethostname() if self.network == "services" else LOOPBACK
        return self.spark_driver_host or own

    @property
    def catalog_address(self) -> str:
        """SQLAlchemy address of the Iceberg SQL catalog."""
        return self.catalog_uri or f"sqlite:///{self.home / 'catalog.db'}"

    @property
    def warehouse_address(self) -> str:
        """Root address of the tables, with its scheme."""
        return self.warehouse or (self.home / "warehouse").as_uri()

    @property
    def mlflow_address(self) -> str:
        """Address of MLflow's server, or of the file of runs and models in home."""
        return self.mlflow or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> str | None:
        """Where models and pictures go; None where MLflow's server decides."""
        return None if self.mlflow else (self.home / "mlflow" / "artifacts").as_uri()

    @property
    def on_stack(self) -> bool:
        """Whether this home is that of a real stack (``lakehouse up --profile stack``)."""
        return roles_folder(self.home).is_dir()

    @property
    def key_store_file(self) -> Path:
        """File of the customers' keys."""
        return self.key_store or self.home / "keys" / "customers.db"

    @property
    def drops(self) -> Path:
        """Folder that files are dropped into."""
        return self.drop_folder or self.home / "drop"

    @property
    def checkpoints(self) -> Path:
        """Folder of the streaming checkpoints."""
        return self.home / "checkpoints"


@lru_cache
def get_settings(role: Role = "operator") -> Settings:
    """Return the settings of a role, read from its file and the environment once.

    Args:
        role: Who this process is for the servers of a stack; means nothing on an embedded home.
    """
    home = Settings().home
    return Settings(_env_file=roles_folder(home) / f"{role}.env")  # type: ignore[call-arg]


def roles_folder(home: Path) -> Path:
    """Return the folder of the roles' files; only the home of a stack has it."""
    return home / "roles"

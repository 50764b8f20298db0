"""One typed object for every setting; environment variables are prefixed ``LAKEHOUSE_``."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lakehouse.errors import LakehouseError


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
    catalog_uri: str | None = Field(
        default=None,
        description="SQLAlchemy address of the Iceberg catalog; unset means a file in home.",
    )
    warehouse: str | None = Field(
        default=None, description="Root address of the tables; unset means a folder in home."
    )
    spark_master: str = Field(default="local[2]", description="Spark master address.")
    spark_driver_memory: str = Field(default="2g", description="Heap of a Spark driver.")
    topic_partitions: int = Field(
        default=4, ge=1, description="Partitions of a topic when it is first made; never changed."
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
    ivy_settings: Path | None = Field(
        default=None, description="Ivy settings of a company mirror; unset means Maven Central."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Lowest level that is logged."
    )

    @field_validator("home", "cache")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def bootstrap_servers(self) -> str:
        """Kafka bootstrap servers, explicit or those of the embedded broker of this home.

        Raises:
            NotRunningError: No address is set and this home has no running broker.
        """
        if self.kafka_bootstrap:
            return self.kafka_bootstrap
        endpoint = self.home / "run" / "kafka.endpoint"
        if not endpoint.exists():
            raise NotRunningError(
                f"no Kafka broker is known to {self.home}: start one with `lakehouse up`, "
                "or set LAKEHOUSE_KAFKA_BOOTSTRAP"
            )
        return endpoint.read_text().strip()

    @property
    def catalog_address(self) -> str:
        """SQLAlchemy address of the Iceberg SQL catalog."""
        return self.catalog_uri or f"sqlite:///{self.home / 'catalog.db'}"

    @property
    def warehouse_address(self) -> str:
        """Root address of the tables, with its scheme."""
        return self.warehouse or (self.home / "warehouse").as_uri()

    @property
    def checkpoints(self) -> Path:
        """Folder of the streaming checkpoints."""
        return self.home / "checkpoints"


@lru_cache
def get_settings() -> Settings:
    """Return the settings of this process, read from the environment once."""
    return Settings()

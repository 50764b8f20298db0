"""The Spark session: the only place where the embedded profile differs from a cluster."""

import os
import sys
import time

from pyspark.sql import SparkSession

from lakehouse.artifacts import cached_jars
from lakehouse.catalog import CATALOG_NAME, SQLITE_BUSY_TIMEOUT_SECONDS, load_catalog
from lakehouse.errors import LakehouseError
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.processes import LOOPBACK
from lakehouse.settings import Settings

CATALOG_KEY = f"spark.sql.catalog.{CATALOG_NAME}"
SQLITE_PREFIX = "sqlite:///"
# A shuffle of an hour's trades is megabytes: one task per core and a spare beats Spark's 200.
LOCAL_SHUFFLE_PARTITIONS = 4
# The Java from which Netty does without sun.misc.Unsafe unless it is told otherwise.
UNSAFE_DENIED_FROM = 24


class SparkSettingsError(LakehouseError):
    """The settings ask for a Spark session that this process cannot have."""


def spark_session(settings: Settings, app_name: str, **overrides: str) -> SparkSession:
    """Return this process's Spark session on the lake of ``settings``.

    Args:
        settings: Home, catalog, warehouse, master and driver memory.
        app_name: Shown in Spark's own pages and logs.
        **overrides: Spark properties by their full name; they win over the defaults here.

    Raises:
        SparkSettingsError: A session on another lake lives in this process already, or Spark
            cannot reach the catalog.
        lakehouse.java.JavaError: No Java is new enough.
        lakehouse.artifacts.ArtifactError: The jars have not been fetched.
    """
    configuration = session_properties(settings) | overrides
    _refuse_another_lake(configuration)
    load_catalog(settings)  # PyIceberg must make the catalog's tables first: both then agree on V1
    _prepare_process(settings)
    builder = SparkSession.builder.appName(app_name).master(settings.spark_master)
    for key, value in configuration.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def session_properties(settings: Settings) -> dict[str, str]:
    """Return the Spark properties that ``settings`` amount to; master and name aside."""
    properties = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
        # Names of generated classes count the stages of their query. Without that, the same code is
        # compiled once, not for every query that has it at another place.
        "spark.sql.codegen.useIdInClassName": "false",
        # To remember for each column which line of Python made it takes longer than to make it.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.pyspark.python": sys.executable,
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": " ".join(
            [*java_options(find_java().version), *avro_limits(settings)]
        ),
        "spark.executor.extraJavaOptions": " ".join(avro_limits(settings)),
    }
    return properties | _catalog_properties(settings) | _local_properties(settings)


def java_options(version: int) -> list[str]:
    """Return the options of a driver's JVM on one feature release of Java."""
    options = [
        "-Duser.timezone=UTC",
        f"-Dlog4j2.configurationFile={infra_file('spark/log4j2.properties').as_uri()}",
    ]
    if version >= UNSAFE_DENIED_FROM:
        # Arrow, within Iceberg's Parquet reader, needs Netty's direct buffers.
        options += [
            "--sun-misc-unsafe-memory-access=allow",
            "-Dio.netty.noUnsafe=false",
            "-Dorg.apache.iceberg.shaded.io.netty.noUnsafe=false",
        ]
    return options


def avro_limits(settings: Settings) -> list[str]:
    """Return the JVM options that keep Avro from believing any length that a payload states.

    A few damaged bytes may claim a text of two gigabytes; Avro makes room for it before it looks
    whether the text is there, which would end the process.
    """
    return [
        f"-Dorg.apache.avro.limits.{kind}.maxLength={settings.max_payload_bytes}"
        for kind in ("bytes", "string")
    ]


def _catalog_properties(settings: Settings) -> dict[str, str]:
    address = settings.catalog_address
    if not address.startswith(SQLITE_PREFIX):
        raise SparkSettingsError(
            f"LAKEHOUSE_CATALOG_URI {address.split(':', 1)[0]}:… has no Spark counterpart here: "
            f"only {SQLITE_PREFIX}PATH is supported"
        )
    file = address.removeprefix(SQLITE_PREFIX)
    busy_timeout_ms = SQLITE_BUSY_TIMEOUT_SECONDS * 1000
    return {
        CATALOG_KEY: "org.apache.iceberg.spark.SparkCatalog",
        f"{CATALOG_KEY}.type": "jdbc",
        f"{CATALOG_KEY}.uri": f"jdbc:sqlite:{file}?busy_timeout={busy_timeout_ms}",
        f"{CATALOG_KEY}.clients": "1",  # SQLite has one writer; a pool would fight itself
        f"{CATALOG_KEY}.warehouse": settings.warehouse_address,
        f"{CATALOG_KEY}.jdbc.schema-version": "V1",
        # PyIceberg commits to the same tables: a cached one would be stale.
        f"{CATALOG_KEY}.cache-enabled": "false",
    }


def _local_properties(settings: Settings) -> dict[str, str]:
    if not settings.spark_master.startswith("local"):
        return {}  # a cluster's images carry the jars
    jars = cached_jars(settings, "spark")
    return {
        "spark.driver.extraClassPath": os.pathsep.join(str(jar) for jar in jars),
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.sql.warehouse.dir": (settings.home / "spark" / "warehouse").as_uri(),
        "spark.sql.shuffle.partitions": str(LOCAL_SHUFFLE_PARTITIONS),
    }


def _refuse_another_lake(configuration: dict[str, str]) -> None:
    active = SparkSession.getActiveSession()
    if active is None:
        return
    key = f"{CATALOG_KEY}.uri"
    # Spark would hand back the living session, still bound to the first lake, without a word.
    if active.conf.get(key, None) != configuration[key]:
        raise SparkSettingsError(
            f"this process already has a Spark session on {active.conf.get(key, None)}; "
            f"one on {configuration[key]} needs another process"
        )


def _prepare_process(settings: Settings) -> None:
    os.environ["JAVA_HOME"] = str(find_java().home)
    if settings.spark_master.startswith("local"):
        os.environ["SPARK_LOCAL_IP"] = LOOPBACK
        os.environ["SPARK_LOCAL_DIRS"] = str(settings.home / "spark" / "local")
    # PySpark hands timestamps over as naive datetimes in the process's own zone.
    os.environ["TZ"] = "UTC"
    time.tzset()

"""The Spark session: the only place where the embedded profile differs from a cluster."""

import os
import shlex
import sys
import time

from pyspark.sql import SparkSession
from sqlalchemy.engine import make_url

from lakehouse.artifacts import cached_jars
from lakehouse.catalog import CATALOG_NAME, load_catalog
from lakehouse.catalog_database import SQLITE_BUSY_TIMEOUT_SECONDS
from lakehouse.errors import LakehouseError
from lakehouse.files import write_secretly
from lakehouse.infra import infra_file
from lakehouse.java import TRUSTSTORE_PASSWORD, find_java
from lakehouse.settings import EVERYWHERE, Settings

CATALOG_KEY = f"spark.sql.catalog.{CATALOG_NAME}"
# A shuffle of an hour's trades is megabytes: one task per core and a spare beats Spark's 200.
SHUFFLE_PARTITIONS = 4
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
    _prepare_process(settings, app_name)
    builder = SparkSession.builder.appName(app_name).master(settings.spark_master)
    for key, value in configuration.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    # What is given to the builder is an argument of the JVM's process, for every user to read.
    for key, value in _credentials(settings).items():
        spark.conf.set(key, value)
    return spark


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
            [*java_options(find_java().version), *avro_limits(settings), *_trust(settings)]
        ),
        "spark.executor.extraJavaOptions": " ".join([*avro_limits(settings), *_trust(settings)]),
        "spark.sql.warehouse.dir": (settings.home / "spark" / "warehouse").as_uri(),
        "spark.sql.shuffle.partitions": str(SHUFFLE_PARTITIONS),
    }
    return (
        properties
        | _catalog_properties(settings)
        | _store_properties(settings)
        | _compute_properties(settings)
    )


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
    address = make_url(settings.catalog_address)
    properties = {
        CATALOG_KEY: "org.apache.iceberg.spark.SparkCatalog",
        f"{CATALOG_KEY}.type": "jdbc",
        f"{CATALOG_KEY}.warehouse": settings.warehouse_address,
        f"{CATALOG_KEY}.jdbc.schema-version": "V1",
        # PyIceberg commits to the same tables: a cached one would be stale.
        f"{CATALOG_KEY}.cache-enabled": "false",
    }
    match address.get_backend_name():
        case "sqlite":
            busy_timeout_ms = SQLITE_BUSY_TIMEOUT_SECONDS * 1000
            return properties | {
                f"{CATALOG_KEY}.uri": (
                    f"jdbc:sqlite:{address.database}?busy_timeout={busy_timeout_ms}"
                ),
                f"{CATALOG_KEY}.clients": "1",  # SQLite has one writer; a pool would fight itself
            }
        case "postgresql":
            trust = f"?sslmode=verify-full&sslrootcert={settings.ca_file}"
            return properties | {
                f"{CATALOG_KEY}.uri": (
                    f"jdbc:postgresql://{address.host}:{address.port}/{address.database}"
                    + (trust if settings.ca_file else "")
                ),
                f"{CATALOG_KEY}.jdbc.user": address.username or "",
            }
        case other:
            raise SparkSettingsError(
                f"LAKEHOUSE_CATALOG_URI {other}:… has no Spark counterpart here: only sqlite and "
                "postgresql are supported"
            )


def _store_properties(settings: Settings) -> dict[str, str]:
    if settings.s3_endpoint is None:
        return {}
    return {
        f"{CATALOG_KEY}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        f"{CATALOG_KEY}.s3.endpoint": settings.s3_endpoint,
        f"{CATALOG_KEY}.s3.path-style-access": "true",
        f"{CATALOG_KEY}.client.region": settings.s3_region,
    }


def _credentials(settings: Settings) -> dict[str, str]:
    secrets = {
        "jdbc.password": settings.catalog_password,
        "s3.secret-access-key": settings.s3_secret_key,
    }
    found = {f"{CATALOG_KEY}.{k}": v.get_secret_value() for k, v in secrets.items() if v}
    if settings.s3_access_key:
        found[f"{CATALOG_KEY}.s3.access-key-id"] = settings.s3_access_key
    return found


def _compute_properties(settings: Settings) -> dict[str, str]:
    sets = ("spark", "spark-stack") if settings.on_stack else ("spark",)
    jars = os.pathsep.join(str(jar) for name in sets for jar in cached_jars(settings, name))
    host = settings.driver_host
    properties = {
        "spark.driver.extraClassPath": jars,
        "spark.driver.host": host,
        # A container has an address in each of its networks; workers may take any of them.
        "spark.driver.bindAddress": EVERYWHERE if settings.network == "services" else host,
    }
    if settings.spark_master.startswith("local"):
        return properties
    return properties | {
        "spark.executor.extraClassPath": jars,
        "spark.executor.memory": settings.spark_executor_memory,
        "spark.executor.cores": "1",
        "spark.cores.max": str(settings.spark_executors),
        "spark.authenticate": "true" if settings.spark_secret else "false",
        "spark.network.crypto.enabled": "true" if settings.spark_secret else "false",
    }


def _trust(settings: Settings) -> list[str]:
    """Return the JVM options for trusting the stack's authority, and no other."""
    if settings.ca_truststore is None:
        return []
    return [
        f"-Djavax.net.ssl.trustStore={settings.ca_truststore}",
        "-Djavax.net.ssl.trustStoreType=PKCS12",
        f"-Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}",
    ]


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


def _prepare_process(settings: Settings, app_name: str) -> None:
    os.environ["JAVA_HOME"] = str(find_java().home)
    os.environ["SPARK_LOCAL_IP"] = settings.driver_host
    os.environ["SPARK_LOCAL_DIRS"] = str(settings.home / "spark" / "local")
    if settings.spark_secret:
        file = settings.home / "spark" / f"{app_name}.properties"
        file.parent.mkdir(parents=True, exist_ok=True)
        secret = settings.spark_secret.get_secret_value()
        write_secretly(file, f"spark.authenticate.secret {secret}\n".encode())
        os.environ["PYSPARK_SUBMIT_ARGS"] = (
            f"--properties-file {shlex.quote(str(file))} pyspark-shell"
        )
    # PySpark hands timestamps over as naive datetimes in the process's own zone.
    os.environ["TZ"] = "UTC"
    time.tzset()

"""What the settings amount to in Spark's own properties; no JVM is started."""

import pytest
from pydantic import SecretStr

from lakehouse import spark
from lakehouse.settings import Settings
from lakehouse.spark import SparkSettingsError, java_options, session_properties


@pytest.fixture(autouse=True)
def _jars_and_java(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(spark, "cached_jars", lambda *_: [settings.cache / "a.jar"])


def test_embedded_is_local_and_on_the_loopback(settings: Settings) -> None:
    properties = session_properties(settings)
    assert properties["spark.driver.bindAddress"] == "127.0.0.1"
    assert properties["spark.driver.extraClassPath"].endswith("a.jar")
    assert properties["spark.sql.session.timeZone"] == "UTC"
    assert properties["spark.sql.catalog.lake.warehouse"] == settings.warehouse_address
    assert (
        properties["spark.sql.catalog.lake.uri"]
        == f"jdbc:sqlite:{settings.home}/catalog.db?busy_timeout=10000"
    )


def test_executors_of_a_cluster_have_the_same_jars(settings: Settings) -> None:
    properties = session_properties(
        settings.model_copy(update={"spark_master": "spark://master:7077", "spark_executors": 3})
    )
    assert properties["spark.executor.extraClassPath"].endswith("a.jar")
    assert properties["spark.cores.max"] == "3"
    assert "spark.executor.extraClassPath" not in session_properties(settings)


def test_a_catalog_in_postgresql_and_a_store_are_reached_without_their_secrets_being_shown(
    settings: Settings,
) -> None:
    stack = settings.model_copy(
        update={
            "catalog_uri": "postgresql+psycopg2://iceberg@db:5432/iceberg",
            "catalog_password": SecretStr("hidden-1"),
            "s3_endpoint": "https://store:9000",
            "s3_access_key": "batch",
            "s3_secret_key": SecretStr("hidden-2"),
            "spark_secret": SecretStr("hidden-3"),
            "ca_file": settings.home / "ca.pem",
            "ca_truststore": settings.home / "ca.p12",
        }
    )
    properties = session_properties(stack)
    assert properties["spark.sql.catalog.lake.uri"] == (
        f"jdbc:postgresql://db:5432/iceberg?sslmode=verify-full&sslrootcert={stack.ca_file}"
    )
    assert properties["spark.sql.catalog.lake.jdbc.user"] == "iceberg"
    assert properties["spark.sql.catalog.lake.s3.endpoint"] == "https://store:9000"
    assert f"trustStore={stack.ca_truststore}" in properties["spark.executor.extraJavaOptions"]
    assert not [value for value in properties.values() if "hidden" in value]


def test_a_catalog_without_counterpart_is_refused_without_its_password(settings: Settings) -> None:
    other = settings.model_copy(update={"catalog_uri": "mysql://user:secret@host/db"})
    with pytest.raises(SparkSettingsError, match="LAKEHOUSE_CATALOG_URI mysql") as refusal:
        session_properties(other)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(("version", "needed"), [(17, False), (21, False), (25, True)])
def test_options_that_an_older_java_would_refuse_are_given_to_newer_ones_only(
    version: int, needed: bool
) -> None:
    assert ("--sun-misc-unsafe-memory-access=allow" in java_options(version)) is needed


def test_no_payload_can_claim_more_memory_than_payloads_may_have(settings: Settings) -> None:
    properties = session_properties(settings.model_copy(update={"max_payload_bytes": 5_000}))
    for process in ("driver", "executor"):
        options = properties[f"spark.{process}.extraJavaOptions"]
        assert "-Dorg.apache.avro.limits.bytes.maxLength=5000" in options
        assert "-Dorg.apache.avro.limits.string.maxLength=5000" in options

"""Spark and PyIceberg share one catalog: what one writes, the other reads, exactly."""

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from lakehouse.spark import SparkSettingsError, spark_session

pytestmark = pytest.mark.integration

MOMENT = datetime(2024, 8, 8, 12, 0, 0, 123456, tzinfo=UTC)
PRICE = Decimal("0.12345678")


def test_each_engine_reads_what_the_other_wrote(
    spark: SparkSession, spark_settings: Settings
) -> None:
    spark.sql("CREATE NAMESPACE IF NOT EXISTS lake.shared")
    spark.sql(
        "CREATE TABLE lake.shared.prices (price DECIMAL(18, 8), at TIMESTAMP) USING iceberg "
        "TBLPROPERTIES ('format-version' = '2')"
    )
    spark.sql(
        "INSERT INTO lake.shared.prices "
        "VALUES (0.12345678, TIMESTAMP '2024-08-08 12:00:00.123456Z')"
    )
    table = load_catalog(spark_settings).load_table("shared.prices")
    assert table.scan().to_arrow().to_pylist() == [{"price": PRICE, "at": MOMENT}]

    table.append(
        pa.Table.from_pylist([{"price": PRICE + 1, "at": MOMENT}], schema=table.schema().as_arrow())
    )
    rows = spark.table("lake.shared.prices").orderBy("price").collect()
    assert [row.price for row in rows] == [PRICE, PRICE + 1]
    assert {row.at.replace(tzinfo=UTC) for row in rows} == {MOMENT}


def test_a_session_on_another_lake_is_refused(spark: SparkSession, settings: Settings) -> None:
    with pytest.raises(SparkSettingsError, match="another process"):
        spark_session(settings, "elsewhere")


def test_a_surprise_in_arithmetic_is_an_error(spark: SparkSession) -> None:
    with pytest.raises(Exception, match=r"CAST_OVERFLOW|CAST_INVALID_INPUT"):
        spark.sql("SELECT CAST('not a number' AS INT)").collect()

"""The embedded engine on a table that Spark has written, deleted from and merged into."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from serving.engine import SqlEngine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.integration

TABLE = "lake.serving_tests.positions"


@pytest.fixture
def table(spark: "SparkSession") -> Iterator[str]:
    """A table of a hundred rows in one file whose changes are written as deletes beside it."""
    spark.sql("CREATE NAMESPACE IF NOT EXISTS lake.serving_tests")
    modes = ", ".join(f"'write.{change}.mode' = 'merge-on-read'" for change in ("delete", "merge"))
    spark.sql(
        f"CREATE TABLE {TABLE} (id bigint, amount decimal(38, 16)) USING iceberg"
        f" TBLPROPERTIES ({modes}, 'format-version' = '2')"
    )
    spark.sql(f"INSERT INTO {TABLE} SELECT id, id FROM range(0, 100, 1, 1)")
    yield TABLE
    spark.sql(f"DROP TABLE {TABLE} PURGE")


def test_deleted_and_merged_rows_are_read_so(
    spark: "SparkSession", spark_settings: Settings, table: str
) -> None:
    catalog = load_catalog(spark_settings)
    engine = SqlEngine(catalog)
    count = f"SELECT count(*) AS rows, sum(amount) AS amount FROM {table}"
    assert engine.query(count).to_pylist() == [{"rows": 100, "amount": sum(range(100))}]

    spark.sql(f"DELETE FROM {table} WHERE id % 3 = 0")
    left = [n for n in range(100) if n % 3]
    assert engine.query(count).to_pylist() == [{"rows": len(left), "amount": sum(left)}]

    spark.sql(
        f"MERGE INTO {table} t USING (SELECT 1L AS id) s ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET t.amount = t.amount + 1000"
    )
    assert engine.query(count).to_pylist() == [{"rows": len(left), "amount": sum(left) + 1000}]
    deletes = catalog.load_table("serving_tests.positions").inspect.delete_files()
    assert deletes.num_rows > 0, "Spark rewrote the files: nothing was tested"

"""``lakehouse rebuild`` as an operator says it, on two streams that write one table together."""

import os
import subprocess
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from customer_lake import CustomerLake
from customer_log import NOON, change
from embedded_lake import LAKEHOUSE
from fill_log import fill
from fills_lake import FillsLake
from pyspark.sql import SparkSession

from batch.activity import ACTIVITY
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings

# Three commands, each with a Spark of its own.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

DEADLINE_SECONDS = 250.0
DIFFER = 3


class Said(NamedTuple):
    code: int
    text: str


def rebuild(settings: Settings, *words: str) -> Said:
    done = subprocess.run(
        [*LAKEHOUSE, "rebuild", *words],
        check=False,
        env=os.environ | {"LAKEHOUSE_HOME": str(settings.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    return Said(done.returncode, done.stdout)


def test_what_differs_is_told_swapped_on_demand_and_rolled_back(
    spark: SparkSession, spark_settings: Settings
) -> None:
    catalog = load_catalog(spark_settings)
    fills = FillsLake(spark, catalog, spark_settings)
    for number, minute in enumerate((1, 6, 7), start=1):
        fills.produce(fill(number, event_time=NOON + timedelta(minutes=minute)))
    fills.batch(fills.land())
    customers = CustomerLake(spark, catalog, spark_settings)
    changes = (
        change("c", 0, 1, customer="C-1"),
        change("u", 5, 2, customer="C-1", segment="PROFESSIONAL"),
    )
    customers.batch(customers.land(*changes))

    def tables() -> dict[str, list[dict[str, Any]]]:
        names = ("silver.fills", "gold.positions", "silver.customers", ACTIVITY)
        scanned = {name: catalog.load_table(name).scan().to_arrow() for name in names}
        return {name: sorted(rows.to_pylist(), key=str) for name, rows in scanned.items()}

    right = tables()
    assert sorted((row["segment"], row["fill_count"]) for row in right[ACTIVITY]) == [
        ("PROFESSIONAL", 2),
        ("RETAIL", 1),
    ]
    spark.sql(f"UPDATE lake.{ACTIVITY} SET fill_count = 9 WHERE segment = 'PROFESSIONAL'")
    wrong = tables()

    words = ("--from", "bronze", "--dataset", "fills")
    code, text = rebuild(spark_settings, *words, "--dry-run")
    assert code == 0, text
    assert "reads bronze.oms_fills: 3 rows in 1 files" in text
    assert {line.split()[1].strip(":") for line in text.splitlines() if "writes" in line} == {
        *right
    }

    code, text = rebuild(spark_settings, *words, "--version", "customers_fills_v2")
    assert code == DIFFER, text
    assert "customers_fills_v2 differs from what the tables show" in text
    verdicts = {words[0]: words[-1] for line in text.splitlines() if (words := line.split())}
    assert {name: verdicts[name] for name in right} == dict.fromkeys(right, "EQUAL") | {
        ACTIVITY: "DIFFER"
    }
    assert tables() == wrong

    code, text = rebuild(spark_settings, "swap", "--dataset", "customers")
    assert code == 0, text
    assert "customers_fills_v2 is what the tables show; customers_fills_v1 is kept" in text
    assert tables() == right

    code, text = rebuild(spark_settings, "rollback", "--dataset", "fills")
    assert code == 0, text
    assert "customers_fills_v3 is what the tables show" in text
    assert tables() == wrong

"""Spark runs on a Java that its authors do not test, where this machine has one."""

import os
import subprocess
import sys

import pytest

from lakehouse.java import JVM_FOLDERS, OLDEST, Java, installed
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration

UNPROVEN = [
    java
    for java in installed(os.environ, JVM_FOLDERS)
    if java.version >= OLDEST and not java.proven
]
ROUND_TRIP = """
import sys
from pathlib import Path
import lakehouse.spark
from lakehouse.java import Java
from lakehouse.settings import get_settings

java = Java(Path(sys.argv[1]), int(sys.argv[2]))
lakehouse.spark.find_java = lambda: java
spark = lakehouse.spark.spark_session(get_settings(), "newest")
spark.sql("CREATE NAMESPACE lake.newest")
spark.sql("CREATE TABLE lake.newest.prices (price DECIMAL(18, 8)) USING iceberg")
spark.sql("INSERT INTO lake.newest.prices VALUES (1.25)")
print(spark.table("lake.newest.prices").first().price)
spark.stop()
"""


@pytest.mark.skipif(not UNPROVEN, reason="every Java here is one that Spark is tested on")
@pytest.mark.parametrize("java", UNPROVEN, ids=lambda java: str(java.version))
def test_a_table_is_written_and_read(java: Java, settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP, str(java.home), str(java.version)],
        env=os.environ
        | {"LAKEHOUSE_HOME": str(settings.home), "LAKEHOUSE_SPARK_DRIVER_MEMORY": "1g"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["1.25000000"], done.stderr[-2000:]

"""Commits that lost a race: what Iceberg says of them in Java, as one error to try again on."""

from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession

from lakehouse.errors import LakehouseError
from lakehouse.resilience import retrying

# Streams commit every second; a few attempts find the gap between two commits.
CONFLICT_BUDGET_SECONDS = 60.0

# Two commits, each of which takes files away that the other needs; a snapshot that was tagged
# while it was about to expire; a file that whoever expired a snapshot has deleted meanwhile.
_MARKS = (
    "org.apache.iceberg.exceptions.CommitFailedException",
    "org.apache.iceberg.exceptions.ValidationException",
    "org.apache.iceberg.exceptions.NotFoundException",
    "java.io.FileNotFoundException",
    "software.amazon.awssdk.services.s3.model.NoSuchKeyException",
    "Missing required files to delete",
    "Cannot commit rewrite",
    "Still referenced by refs",
)


class CommitConflictError(LakehouseError):
    """Another writer committed in between; what was to be done is worth another try."""


@contextmanager
def conflicts(what: str) -> Iterator[None]:
    """Raise what Spark and Iceberg say about a lost race as `CommitConflictError`.

    Args:
        what: What is being done to which table, for the error.

    Raises:
        CommitConflictError: Another writer was faster.
        Exception: Whatever else went wrong, as it is.
    """
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        said = str(error)
        if not any(mark in said for mark in _MARKS):
            raise
        raise CommitConflictError(
            f"{what}: another writer was faster: {said.partition(chr(10))[0]}"
        ) from error


def committed(spark: SparkSession, what: str, sql: str) -> list[Row]:
    """Have Iceberg commit to a table, again whenever another writer was faster.

    Args:
        spark: A session on the lake.
        what: What is being done to which table, for the error.
        sql: The statement; it changes nothing if its commit fails.

    Returns:
        Its rows.

    Raises:
        CommitConflictError: Other writers were faster for as long as the budget lasts.
    """

    @retrying(on=CommitConflictError, budget_seconds=CONFLICT_BUDGET_SECONDS)
    def attempt() -> list[Row]:
        with conflicts(what):
            rows: list[Row] = spark.sql(sql).collect()
            return rows

    return attempt()

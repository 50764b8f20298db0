"""Write, audit, publish: a result goes to a branch and becomes visible only if it is sound."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession

from batch.quality import QualityError
from lakehouse.catalog import CATALOG_NAME
from lakehouse.errors import LakehouseError

# Begins the name of a branch that holds what was not published because of its quality.
QUARANTINE = "quarantine_"


class PublishConflictError(LakehouseError):
    """Another writer published to the table while this run was at work; run it again."""


@dataclass(frozen=True)
class Branch:
    """A table's branch that one run works on."""

    table: str
    name: str

    @property
    def target(self) -> str:
        """The identifier under which engines read and write the branch."""
        return f"{CATALOG_NAME}.{self.table}.branch_{self.name}"

    def read(self, spark: SparkSession) -> DataFrame:
        """Read the branch as it is now."""
        return spark.table(self.target)

    def keep_as(self, spark: SparkSession, name: str) -> None:
        """Give what is on the branch another name, under which it stays."""
        refs = f"{CATALOG_NAME}.{self.table}.refs"
        found = spark.sql(f"SELECT snapshot_id FROM {refs} WHERE name = '{self.name}'").collect()
        spark.sql(
            f"ALTER TABLE {CATALOG_NAME}.{self.table} CREATE BRANCH `{name}` "
            f"AS OF VERSION {found[0].snapshot_id}"
        )

    def publish(self, spark: SparkSession) -> None:
        """Make the branch the table's main line.

        Raises:
            PublishConflictError: The table was published to since the branch was made.
        """
        try:
            spark.sql(
                f"CALL {CATALOG_NAME}.system.fast_forward("
                f"table => '{CATALOG_NAME}.{self.table}', branch => 'main', to => '{self.name}')"
            ).collect()
        except Py4JJavaError as error:
            if "ancestor" not in str(error.java_exception):
                raise
            raise PublishConflictError(
                f"{self.table} was published to by another run meanwhile: run the interval again"
            ) from error


@contextmanager
def branches(spark: SparkSession, tables: Sequence[str], name: str) -> Iterator[list[Branch]]:
    """Give a run its branches of some tables; they are dropped at the end, published or not.

    What is put in quarantine stays, to be looked at, on branches of another name.
    """
    made: list[Branch] = []
    try:
        for table in tables:
            spark.sql(f"ALTER TABLE {CATALOG_NAME}.{table} CREATE BRANCH `{name}`")
            made.append(Branch(table, name))
        yield made
    except QualityError as error:
        if error.keeps_branch:
            for branch in made:
                branch.keep_as(spark, f"{QUARANTINE}{name}")
        raise
    finally:
        for branch in made:
            spark.sql(f"ALTER TABLE {CATALOG_NAME}.{branch.table} DROP BRANCH IF EXISTS `{name}`")

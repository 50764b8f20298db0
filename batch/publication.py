"""Write, audit, publish: a result goes to a branch and becomes visible only if it is sound."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from py4j.protocol import Py4JJavaError
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from batch.conflicts import committed
from batch.quality import QualityError
from lakehouse.catalog import CATALOG_NAME
from lakehouse.errors import LakehouseError
from lakehouse.tracing import table_span

# Begins the name of a branch that holds what was not published because of its quality.
QUARANTINE = "quarantine_"


class PublishConflictError(LakehouseError):
    """Another writer published to the table while this run was at work; run it again."""


@dataclass
class Conflicts:
    """How often a run lost to another publication, and began again."""

    count: int = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the conflict that an attempt ends with, if it does, and raise it."""
        try:
            yield
        except PublishConflictError:
            self.count += 1
            raise


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

    def create(self, spark: SparkSession, *, of: str | None = None) -> None:
        """Make the branch, of the main line, or of what another branch or a tag names."""
        table, since = f"{CATALOG_NAME}.{self.table}", ""
        if of is not None:
            named = spark.sql(f"SELECT snapshot_id FROM {table}.refs WHERE name = '{of}'")
            since = f" AS OF VERSION {named.collect()[0].snapshot_id}"
        self._commit(spark, f"ALTER TABLE {table} CREATE BRANCH `{self.name}`{since}")

    def clear(self, spark: SparkSession) -> None:
        """Take all rows off the branch; no file is touched."""
        spark.sql(f"DELETE FROM {self.target}")

    def drop(self, spark: SparkSession) -> None:
        """Drop the branch, if it is there."""
        table = f"{CATALOG_NAME}.{self.table}"
        self._commit(spark, f"ALTER TABLE {table} DROP BRANCH IF EXISTS `{self.name}`")

    def keep_as(self, spark: SparkSession, name: str) -> None:
        """Give what is on the branch another name, under which it stays."""
        Branch(self.table, name).create(spark, of=self.name)

    def publish(self, spark: SparkSession) -> None:
        """Make the branch the table's main line.

        Raises:
            PublishConflictError: The table was published to since the branch was made.
        """
        forward = (
            f"CALL {CATALOG_NAME}.system.fast_forward("
            f"table => '{CATALOG_NAME}.{self.table}', branch => 'main', to => '{self.name}')"
        )
        try:
            with table_span("publish", self.table):
                self._commit(spark, forward)
        # PySpark wraps those Java exceptions that it knows, and hands others over as they are.
        except (Py4JJavaError, PySparkException) as error:
            if "is not an ancestor of" not in str(error):
                raise
            raise PublishConflictError(
                f"{self.table} was published to by another run meanwhile: run the interval again"
            ) from error

    def replace_main(self, catalog: Catalog, *, expected: int | None, keep_as: str) -> None:
        """Make the branch the table's main line, whatever that is, and tag what was there.

        Args:
            catalog: The lake's catalog.
            expected: The snapshot that the main line must be at; None if it is empty.
            keep_as: The tag; one of that name stays as it is.

        Raises:
            PublishConflictError: The main line is at another snapshot.
        """
        table = catalog.load_table(self.table)
        conflict = PublishConflictError(f"{self.table} was published to meanwhile: catch up first")
        if table.metadata.current_snapshot_id != expected:
            raise conflict
        if table.metadata.refs[self.name].snapshot_id == expected:
            return
        try:
            # One commit, which the catalog refuses if the main line has moved since. The main line
            # comes first: of what a commit asserts about references, PyIceberg keeps the first.
            with table.manage_snapshots() as changes:
                changes.set_current_snapshot(ref_name=self.name)
                if expected is not None and keep_as not in table.metadata.refs:
                    changes.create_tag(expected, keep_as)
        except CommitFailedException as error:
            raise conflict from error

    def _commit(self, spark: SparkSession, sql: str) -> None:
        # Another run may commit to the table's other branches at the same moment.
        committed(spark, f"a commit of branch {self.name} of {self.table}", sql)


@contextmanager
def branches(spark: SparkSession, tables: Sequence[str], name: str) -> Iterator[list[Branch]]:
    """Give a run its branches of some tables; they are dropped at the end, published or not.

    What is put in quarantine stays, to be looked at, on branches of another name.
    """
    made: list[Branch] = []
    try:
        for table in tables:
            branch = Branch(table, name)
            branch.create(spark)
            made.append(branch)
        yield made
    except QualityError as error:
        if error.keeps_branch:
            for branch in made:
                branch.keep_as(spark, f"{QUARANTINE}{name}")
        raise
    finally:
        for branch in made:
            branch.drop(spark)

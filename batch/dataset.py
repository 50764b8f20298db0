"""What the batch layer asks of a dataset: which stream it is made of, and how it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession

import schemas
from batch.audit import Audit
from batch.inputs import ingested_in
from batch.pairs import Pair
from batch.publication import Branch
from lakehouse.catalog import CATALOG_NAME
from lakehouse.intervals import Interval


@dataclass(frozen=True)
class Work:
    """What a run of a dataset works on.

    Attributes:
        spark: The session.
        interval: The run's interval of ingestion time.
        read_bronze: Reads the rows of the stream that were ingested before ``newest_end``.
        as_of: The business hours that the interval's events touch; by hour, the time before which
            an event must have been ingested to count: the interval's end, or the end of a later
            run of the hour, which must not be taken back.
        newest_end: The latest such time of any hour: for datasets that are not made by the hour.
        unpublished: Tells which times before the interval's end no published run covers: a
            dataset that is not made by the hour must leave none of them out.
        branches: By table, where to write.
        judge: Decodes and validates bronze rows.
        inspect: Is given what was written of a table and what must be true of it; audits it, asks
            the contract's rules, and keeps what they find.
        retired: By table, the time before which its rows were retired, if any were: nothing of
            that time is written any more, or made of what is left of it.
    """

    spark: SparkSession
    interval: Interval
    read_bronze: Callable[[], DataFrame]
    as_of: Mapping[datetime, datetime]
    newest_end: datetime
    unpublished: Callable[[], Sequence[Interval]]
    branches: Mapping[str, Branch]
    judge: Callable[[DataFrame], DataFrame]
    inspect: Callable[[DataFrame, Audit], object]
    retired: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def bronze(self) -> DataFrame:
        """All rows that the run may see; read anew, so that a step of hours finds its files."""
        return self.read_bronze()

    def read(self, table: str) -> DataFrame:
        """Read a table as the run has made it; one that it does not write, as it is published."""
        branch = self.branches.get(table)
        return branch.read(self.spark) if branch else self.spark.table(f"{CATALOG_NAME}.{table}")

    def keeps(self, table: str, time: datetime) -> bool:
        """Tell whether a table's rows of a time, and of all time after it, were never retired."""
        return table not in self.retired or self.retired[table] <= time

    @property
    def interval_events(self) -> DataFrame:
        """The judged events that were ingested in the interval."""
        return self.judge(self.bronze.where(ingested_in(self.interval)))


@dataclass(frozen=True)
class Written:
    """What a run has written.

    Attributes:
        rows: By table, how many rows are new or different.
        refused: How many events of the interval were refused.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0


class TableSet(Protocol):
    """Tables that are written together, made of one table of bronze."""

    @property
    def name(self) -> str:
        """What people call it: ``trades``."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that a run writes, in the order in which they are published."""


class Dataset(TableSet, Protocol):
    """Tables that are written together from one stream of events."""

    @property
    def topic(self) -> str:
        """The stream that it is made of."""

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Those of its tables that the speed layer has, too: they are reconciled."""

    def validate(self, events: DataFrame) -> DataFrame:
        """Judge decoded events: a transform that fills ``rejection``."""

    def write(self, work: Work) -> Written:
        """Write to the branches what follows from the events, and audit what was written.

        Raises:
            batch.audit.AuditError: The result is not sound.
            batch.quality.QualityError: It breaks a rule that forbids to publish it.
        """


def bronze_table(dataset: Dataset) -> str:
    """Return the table that a dataset's events are landed in."""
    return schemas.landed_topics()[dataset.topic]

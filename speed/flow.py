"""What the speed layer asks of a flow: which topic it reads, and what it makes of it."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession

from lakehouse.catalog import CATALOG_NAME
from lakehouse.tracing import table_span
from lakehouse.transforms.events import decode
from schemas import contract
from schemas.registry import SchemaRegistry
from schemas.topic_schemas import topic_schemas
from speed.metrics import COMMIT_SECONDS


class Fold(Protocol):
    """Folds micro-batches of observations into the flow's tables; may remember what it has read."""

    def process(self, micro_batch: DataFrame) -> None:
        """Process one micro-batch: consecutive records of each partition.

        One that is processed again after a crash must append what leads to the same rows. One
        that Spark cannot compute must append nothing: only the first append may still compute.
        """


class Flow(Protocol):
    """Tables of row versions that are kept seconds behind one topic."""

    @property
    def name(self) -> str:
        """The dataset that batch makes of the same topic: ``trades``."""

    @property
    def topic(self) -> str:
        """The topic that it reads."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it appends to."""

    def observe(self, events: DataFrame) -> DataFrame:
        """Turn the sound among decoded events into observations: part of the streaming query."""

    def fold(self, spark: SparkSession) -> Fold:
        """Return what folds this flow's micro-batches, from its beginning."""


def observations(
    flow: Flow,
    records: DataFrame,
    registry: SchemaRegistry,
    *,
    max_payload_bytes: int,
    poison: Iterable[tuple[int, int]] = (),
) -> DataFrame:
    """Return what the accepted among log records say.

    Part of the streaming query, so that it is planned once and not for every micro-batch.

    Args:
        flow: Whose topic the records are of.
        records: ``topic_generation``, ``kafka_partition``, ``kafka_offset``, ``kafka_timestamp``
            and ``payload``.
        registry: Knows the schemas that they were written in.
        max_payload_bytes: Larger payloads are refused.
        poison: Log partition and position of events that are left out.
    """
    schemas = topic_schemas(registry, flow.topic)
    return flow.observe(
        decode(
            records,
            writer_schemas=schemas.writers,
            reader_schema=schemas.reader,
            max_payload_bytes=max_payload_bytes,
            poison=poison,
        )
    )


def append(table: str, rows: DataFrame) -> None:
    """Append row versions to a table of the speed layer: one small file, one commit."""
    writer = (
        rows.select(*contract(table).column_names)
        .coalesce(1)
        .writeTo(f"{CATALOG_NAME}.{table}")
        .option("check-nullability", "false")
        # Seconds old rows in small files: hourly compaction sorts what is worth it.
        .option("use-table-distribution-and-ordering", "false")
        .option("fanout-enabled", "true")
    )
    with COMMIT_SECONDS.labels(table=table).time(), table_span("commit", table):
        writer.append()


class AppendTogether:
    """Appends to several tables at once: each is complete by itself, so none waits for another.

    Args:
        tables: How many they are.
    """

    def __init__(self, tables: int) -> None:
        self._writers = ThreadPoolExecutor(max_workers=tables, thread_name_prefix="append")

    def __call__(self, rows: Mapping[str, DataFrame]) -> None:
        """Append row versions by table; return when all are committed."""
        # Each in the context of its micro-batch: its commits are steps of that one's trace.
        appends = [
            self._writers.submit(copy_context().run, append, table, versions)
            for table, versions in rows.items()
        ]
        for one in appends:
            one.result()

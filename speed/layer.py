"""One micro-batch of the speed layer: new events in, whole rows out."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from lakehouse.transforms.bars import bars_1m
from lakehouse.transforms.trades import (
    OBSERVED_COLUMNS,
    decode,
    observe,
    resolve,
    second_of,
    validate,
)
from schemas import contract
from schemas.registry import SchemaRegistry
from schemas.topic_schemas import topic_schemas
from speed.memory import TRADE_COLUMNS, WindowMemory, keep
from speed.metrics import COMMIT_SECONDS

TRADES_RT, BARS_RT = "silver.trades_rt", "gold.bars_1m_rt"
TOPIC = "market.trades"


def observations(
    records: DataFrame, registry: SchemaRegistry, *, max_payload_bytes: int
) -> DataFrame:
    """Return what the accepted among log records say about their trades.

    Part of the streaming query, so that it is planned once and not for every micro-batch.

    Args:
        records: ``topic_generation``, ``kafka_partition``, ``kafka_offset``, ``kafka_timestamp``
            and ``payload``.
        registry: Knows the schemas that they were written in.
        max_payload_bytes: Larger payloads are refused.
    """
    schemas = topic_schemas(registry, TOPIC)
    events = decode(
        records,
        writer_schemas=schemas.writers,
        reader_schema=schemas.reader,
        max_payload_bytes=max_payload_bytes,
    )
    return observe(validate(events))


class SpeedLayer:
    """Folds micro-batches of observations into ``silver.trades_rt`` and ``gold.bars_1m_rt``.

    Both tables are logs of row versions. A micro-batch that is processed again after a crash finds
    its own trades in the memory, resolves to the same rows, and appends the same versions.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._memory = WindowMemory(spark)
        self._writers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="append")

    def process(self, micro_batch: DataFrame) -> None:
        """Process one micro-batch.

        Args:
            micro_batch: The `observations` of consecutive records of each partition.
        """
        news = keep(micro_batch)
        touched = (
            news.groupBy("log_partition", second_of(F.col("event_time")).alias("second"))
            .agg(F.min("last_offset").alias("first_position"))
            .collect()
        )
        if not touched:
            return
        seconds = {row.second for row in touched}
        seconds |= self._memory.seconds_spoken_of(news, seconds)
        known = self._memory.trades(seconds)
        trades = keep(resolve(known.select(*OBSERVED_COLUMNS).union(news)).select(*TRADE_COLUMNS))
        bars = bars_1m(self._memory.remember(seconds, trades))
        # Whatever a new event touched stands at that event's position or beyond.
        first_positions: dict[int, int] = {}
        for row in touched:
            first = first_positions.get(row.log_partition, row.first_position)
            first_positions[row.log_partition] = min(first, row.first_position)
        moved = _at_or_beyond(first_positions)
        # Each table is complete by itself, so neither needs to wait for the other.
        writes = [(TRADES_RT, trades.where(moved)), (BARS_RT, bars.where(moved))]
        list(self._writers.map(lambda write: self._append(*write), writes))
        self._memory.settle()

    def _append(self, table: str, rows: DataFrame) -> None:
        writer = (
            rows.select(*contract(table).column_names)
            .coalesce(1)
            .writeTo(f"{CATALOG_NAME}.{table}")
            .option("check-nullability", "false")
            # Seconds old rows in small files: hourly compaction sorts what is worth it.
            .option("use-table-distribution-and-ordering", "false")
            .option("fanout-enabled", "true")
        )
        with COMMIT_SECONDS.labels(table=table).time():
            writer.append()


def _at_or_beyond(positions: Mapping[int, int]) -> Column:
    """Tell whether a row stands at or beyond a position of its log partition.

    A map, not a chain of comparisons: Spark writes numbers into the code that it generates, and
    would compile the code of every micro-batch anew.
    """
    first = F.create_map(*map(F.lit, chain.from_iterable(positions.items())))
    return F.col("last_offset") >= first[F.col("log_partition")]

"""One micro-batch of the speed layer: new events in, whole rows out."""

from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import or_

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from lakehouse.transforms.bars import bars_1m
from lakehouse.transforms.trades import (
    OBSERVED_COLUMNS,
    decode,
    minute_of,
    observe,
    resolve,
    validate,
)
from schemas import contract
from schemas.topic_schemas import topic_schemas
from speed.memory import TRADE_COLUMNS, WindowMemory

TRADES_RT, BARS_RT = "silver.trades_rt", "gold.bars_1m_rt"
TOPIC = "market.trades"


class SpeedLayer:
    """Folds micro-batches of log records into ``silver.trades_rt`` and ``gold.bars_1m_rt``.

    Both tables are logs of row versions. A micro-batch that is processed again after a crash finds
    its own trades in the memory, resolves to the same rows, and appends the same versions.
    """

    def __init__(self, spark: SparkSession, *, max_payload_bytes: int) -> None:
        self._schemas = topic_schemas(TOPIC)
        self._max_payload_bytes = max_payload_bytes
        self._memory = WindowMemory(spark)
        self._writers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="append")

    def process(self, records: DataFrame) -> None:
        """Process one micro-batch.

        Args:
            records: ``topic_generation``, ``kafka_partition``, ``kafka_offset``,
                ``kafka_timestamp`` and ``payload`` of consecutive records of each partition.
        """
        events = decode(
            records,
            writer_schemas=self._schemas.writers,
            reader_schema=self._schemas.reader,
            max_payload_bytes=self._max_payload_bytes,
        )
        news = observe(validate(events)).localCheckpoint(eager=True)
        touched = (
            news.groupBy("log_partition", minute_of(F.col("event_time")).alias("minute"))
            .agg(F.min("last_offset").alias("first_position"))
            .collect()
        )
        if not touched:
            return
        minutes = {row.minute for row in touched}
        changed, trades = self._fold(news, self._memory.recall(minutes))
        self._memory.remember(minutes, trades)
        # Whatever a new event touched stands at that event's position or beyond.
        first_positions: dict[int, int] = {}
        for row in touched:
            first = first_positions.get(row.log_partition, row.first_position)
            first_positions[row.log_partition] = min(first, row.first_position)
        moved = reduce(
            or_,
            (
                (F.col("log_partition") == partition) & (F.col("last_offset") >= position)
                for partition, position in first_positions.items()
            ),
        )
        # Each table is complete by itself, so neither needs to wait for the other.
        writes = [(TRADES_RT, changed), (BARS_RT, bars_1m(trades).where(moved))]
        list(self._writers.map(lambda write: self._append(*write), writes))

    def _fold(self, news: DataFrame, known: DataFrame) -> tuple[DataFrame, DataFrame]:
        """Return the trades that new observations change, and with them all known trades.

        Only trades that are spoken of are folded again: the others are most of a busy minute.
        """
        minute = minute_of(F.col("event_time"))
        known, spoken_of = known.withColumn("minute", minute), news.withColumn("minute", minute)
        key = ["venue", "symbol", "trade_id", "minute"]
        keys = F.broadcast(spoken_of.select(*key).distinct())
        before = known.join(keys, key, "left_semi").select(*OBSERVED_COLUMNS)
        changed = resolve(before.union(news)).select(*TRADE_COLUMNS).localCheckpoint(eager=True)
        others = known.join(keys, key, "left_anti").select(*TRADE_COLUMNS)
        return changed, others.union(changed).localCheckpoint(eager=True)

    def _append(self, table: str, rows: DataFrame) -> None:
        (
            rows.select(*contract(table).column_names)
            .coalesce(1)
            .writeTo(f"{CATALOG_NAME}.{table}")
            .option("check-nullability", "false")
            .option("distribution-mode", "none")
            .option("fanout-enabled", "true")
            .append()
        )

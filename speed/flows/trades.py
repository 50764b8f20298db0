"""Trades and their minute bars: new events in, whole rows out."""

from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.kafka import TRADES_TOPIC
from lakehouse.transforms.bars import bars_1m
from lakehouse.transforms.events import second_of
from lakehouse.transforms.trades import (
    OBSERVED_COLUMNS,
    observe,
    resolve,
    validate,
)
from speed.flow import append
from speed.rows import keep, moved_by
from speed.windows import TRADE_COLUMNS, WindowMemory

TRADES_RT, BARS_RT = "silver.trades_rt", "gold.bars_1m_rt"


class Trades:
    """``market.trades`` into ``silver.trades_rt`` and ``gold.bars_1m_rt``."""

    name = "trades"
    topic = TRADES_TOPIC
    tables = (TRADES_RT, BARS_RT)

    def observe(self, events: DataFrame) -> DataFrame:
        """Return what the sound among decoded events say about their trades."""
        return observe(validate(events))

    def fold(self, spark: SparkSession) -> "TradesFold":
        """Return what folds observations of trades."""
        return TradesFold(spark)


class TradesFold:
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
        moved = moved_by(touched)
        # Each table is complete by itself, so neither needs to wait for the other.
        writes = [(TRADES_RT, trades.where(moved)), (BARS_RT, bars.where(moved))]
        list(self._writers.map(lambda write: append(*write), writes))
        self._memory.settle()

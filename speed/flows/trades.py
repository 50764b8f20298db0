"""Trades and their minute bars: new events in, whole rows out."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from pyspark.sql import Column, DataFrame, SparkSession
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
from speed.windows import TRADE_COLUMNS, WindowMemory, keep

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
        # Whatever a new event touched stands at that event's position or beyond.
        first_positions: dict[int, int] = {}
        for row in touched:
            first = first_positions.get(row.log_partition, row.first_position)
            first_positions[row.log_partition] = min(first, row.first_position)
        moved = _at_or_beyond(first_positions)
        # Each table is complete by itself, so neither needs to wait for the other.
        writes = [(TRADES_RT, trades.where(moved)), (BARS_RT, bars.where(moved))]
        list(self._writers.map(lambda write: append(*write), writes))
        self._memory.settle()


def _at_or_beyond(positions: Mapping[int, int]) -> Column:
    """Tell whether a row stands at or beyond a position of its log partition.

    A map, not a chain of comparisons: Spark writes numbers into the code that it generates, and
    would compile the code of every micro-batch anew.
    """
    first = F.create_map(*map(F.lit, chain.from_iterable(positions.items())))
    return F.col("last_offset") >= first[F.col("log_partition")]

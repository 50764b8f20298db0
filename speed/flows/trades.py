"""Trades and their minute bars: new events in, whole rows out."""

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
from schemas import contract
from speed.flow import AppendTogether
from speed.rows import News, keep
from speed.windows import WindowMemory

TRADES, TRADES_RT = "silver.trades", "silver.trades_rt"
BARS, BARS_RT = "gold.bars_1m", "gold.bars_1m_rt"


class Trades:
    """``market.trades`` into ``silver.trades_rt`` and ``gold.bars_1m_rt``."""

    name = "trades"
    topic = TRADES_TOPIC
    tables = (TRADES_RT, BARS_RT)

    def observe(self, events: DataFrame) -> DataFrame:
        """Return what the sound among decoded events say about their trades."""
        return observe(validate(events), contract(TRADES).carried)

    def fold(self, spark: SparkSession) -> "TradesFold":
        """Return what folds observations of trades."""
        return TradesFold(spark)


class TradesFold:
    """Folds micro-batches of observations into ``silver.trades_rt`` and ``gold.bars_1m_rt``.

    Both tables are logs of row versions. A micro-batch that is processed again after a crash finds
    its own trades in the memory, resolves to the same rows, and appends the same versions.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._carried = contract(TRADES).carried
        self._sums = contract(BARS).carried
        self._memory = WindowMemory(spark, carried=self._carried, sums=self._sums)
        self._append = AppendTogether(len(Trades.tables))

    def process(self, micro_batch: DataFrame) -> None:
        """Process one micro-batch.

        Args:
            micro_batch: The observations of consecutive records of each partition.
        """
        news = News.of(micro_batch, second_of(F.col("event_time")))
        if news is None:
            return
        seconds = news.keys | self._memory.seconds_spoken_of(news.rows, news.keys)
        known = self._memory.trades(seconds).select(*OBSERVED_COLUMNS, *self._carried)
        resolved = resolve(known.union(news.rows), self._carried)
        trades = keep(resolved.select(*contract(TRADES).column_names))
        bars = bars_1m(self._memory.remember(seconds, trades), self._sums).where(news.moved)
        self._append({TRADES_RT: trades.where(news.moved), BARS_RT: keep(bars)})
        self._memory.settle()

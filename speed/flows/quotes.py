"""Quotes and their minute spreads: new events in, whole rows out."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.kafka import QUOTES_TOPIC
from lakehouse.transforms.events import minute_of
from lakehouse.transforms.quotes import (
    OBSERVED_COLUMNS,
    observe,
    resolve,
    spreads_1m,
    validate,
)
from speed.flow import append
from speed.minutes import MinuteMemory
from speed.rows import News

QUOTES_RT, SPREADS_RT = "silver.quotes_rt", "gold.spreads_1m_rt"


class Quotes:
    """``market.quotes`` into ``silver.quotes_rt`` and ``gold.spreads_1m_rt``."""

    name = "quotes"
    topic = QUOTES_TOPIC
    tables = (QUOTES_RT, SPREADS_RT)

    def observe(self, events: DataFrame) -> DataFrame:
        """Return what the sound among decoded events say about their quotes."""
        return observe(validate(events))

    def fold(self, spark: SparkSession) -> "QuotesFold":
        """Return what folds observations of quotes."""
        return QuotesFold(spark)


class QuotesFold:
    """Folds micro-batches of observations into ``silver.quotes_rt`` and ``gold.spreads_1m_rt``."""

    def __init__(self, spark: SparkSession) -> None:
        self._memory = MinuteMemory(spark, "silver.quotes", OBSERVED_COLUMNS, resolve)

    def process(self, micro_batch: DataFrame) -> None:
        """Process one micro-batch.

        Args:
            micro_batch: The observations of consecutive records of each partition.
        """
        news = News.of(micro_batch, minute_of(F.col("event_time")))
        if news is None:
            return
        quotes = self._memory.fold(news.keys, news.rows)
        # First what is still to be computed: if Spark cannot, nothing has been appended.
        append(SPREADS_RT, spreads_1m(quotes).where(news.moved))
        append(QUOTES_RT, quotes.where(news.moved))
        self._memory.settle()

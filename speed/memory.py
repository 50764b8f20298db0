"""The speed layer's memory: every trade of the minutes that are being traded in.

A window is emitted whole, so all of its trades must be at hand. Minutes that events touch are kept
as materialised DataFrames; a minute that is not (it is old, or the process has just started) is
loaded from the speed layer's own rows and from batch silver.
"""

from collections import OrderedDict
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from lakehouse.transforms.trades import OBSERVED_COLUMNS, minute_of, resolve
from schemas import contract

# Late events mostly belong to the last minutes; an older minute costs one look into the tables.
REMEMBERED_MINUTES = 20
TRADE_COLUMNS = contract("silver.trades").column_names


class WindowMemory:
    """All known trades of the most recently touched minutes."""

    def __init__(self, spark: SparkSession, minutes: int = REMEMBERED_MINUTES) -> None:
        self._spark = spark
        self._capacity = minutes
        # Several minutes may share a DataFrame, each reading its own rows of it.
        self._trades_by_minute: OrderedDict[datetime, DataFrame] = OrderedDict()

    def recall(self, minutes: Collection[datetime]) -> DataFrame:
        """Return every trade seen so far of some minutes, one row each, in `TRADE_COLUMNS`."""
        forgotten = [minute for minute in minutes if minute not in self._trades_by_minute]
        parts = [self._load(forgotten)] if forgotten else []
        known: dict[int, tuple[DataFrame, list[datetime]]] = {}
        for minute in minutes:
            if (trades := self._trades_by_minute.get(minute)) is not None:
                known.setdefault(id(trades), (trades, []))[1].append(minute)
        parts += [trades.where(_of_minutes(theirs)) for trades, theirs in known.values()]
        return reduce(DataFrame.union, (part.select(*TRADE_COLUMNS) for part in parts))

    def remember(self, minutes: Collection[datetime], trades: DataFrame) -> None:
        """Keep all trades of some minutes, in place of what was known of them.

        Args:
            minutes: The minutes that ``trades`` has every trade of.
            trades: Materialised resolved trades.
        """
        for minute in minutes:
            self._trades_by_minute[minute] = trades
            self._trades_by_minute.move_to_end(minute)
        while len(self._trades_by_minute) > self._capacity:
            self._trades_by_minute.popitem(last=False)

    def _load(self, minutes: Collection[datetime]) -> DataFrame:
        """Read minutes from the tables: own rows first, since rows move from speed to batch."""
        own, batch = (
            self._spark.table(f"{CATALOG_NAME}.silver.{table}")
            .where(_in_range(minutes) & _of_minutes(minutes))
            .select(*OBSERVED_COLUMNS)
            for table in ("trades_rt", "trades")
        )
        versions = own.localCheckpoint(eager=True).union(batch)
        return resolve(versions).localCheckpoint(eager=True)


def _of_minutes(minutes: Collection[datetime]) -> Column:
    return minute_of(F.col("event_time")).isin(*minutes)


def _in_range(minutes: Collection[datetime]) -> Column:
    """Bound the time itself, which prunes files where a function of it does not."""
    return F.col("event_time").between(min(minutes), max(minutes) + timedelta(minutes=1))

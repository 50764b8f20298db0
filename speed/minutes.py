"""The rows of whole minutes, remembered while the minutes are recent.

What is made of a minute is emitted whole, so all of its rows must be at hand. A minute that is not
remembered (it is old, or the process has just started) is loaded from the speed layer's own rows
and from batch silver.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from lakehouse.transforms.events import minute_of
from schemas import contract
from speed.rows import gather, keep

# Late events mostly belong to the last minutes; an older one costs one look into the tables.
REMEMBERED_MINUTES = 10
MINUTE = timedelta(minutes=1)


class MinuteMemory:
    """All known rows of the most recently touched minutes of one table.

    Args:
        spark: The session.
        table: The batch table; its speed twin is read before it.
        columns: Those that rows are folded by.
        resolve: Folds rows of both tables, and newer ones, into one of each key.
        capacity: How many minutes are remembered.
    """

    def __init__(
        self,
        spark: SparkSession,
        table: str,
        columns: Sequence[str],
        resolve: Callable[[DataFrame], DataFrame],
        capacity: int = REMEMBERED_MINUTES,
    ) -> None:
        self._spark = spark
        self._batch, self._own = table, contract(table).speed_twin
        self._columns = columns
        self._resolve = resolve
        self._capacity = capacity
        self._owners: OrderedDict[datetime, DataFrame] = OrderedDict()

    def fold(self, minutes: Collection[datetime], news: DataFrame) -> DataFrame:
        """Return every row of some minutes, news included, and remember them.

        Args:
            minutes: The minutes that the news are of.
            news: Materialised observations.
        """
        if forgotten := minutes - self._owners.keys():
            self._owners |= dict.fromkeys(forgotten, keep(self._read(forgotten)))
        known = gather(self._owners, minutes, minute_of(F.col("event_time")))
        rows = keep(self._resolve(known.union(news)).select(*self._columns).coalesce(1))
        self._owners |= dict.fromkeys(minutes, rows)
        for minute in sorted(minutes):
            self._owners.move_to_end(minute)
        return rows

    def settle(self) -> None:
        """Forget the minutes beyond the capacity."""
        while len(self._owners) > self._capacity:
            self._owners.popitem(last=False)

    def _read(self, minutes: Collection[datetime]) -> DataFrame:
        """Read minutes from the tables: own rows first, since rows move from speed to batch."""
        own, batch = (
            self._spark.table(f"{CATALOG_NAME}.{table}")
            .where(of_minutes(minutes))
            .select(*self._columns)
            for table in (self._own, self._batch)
        )
        return self._resolve(keep(own).union(batch)).select(*self._columns)


def of_minutes(minutes: Collection[datetime]) -> Column:
    """Tell whether a row is of one of some minutes; the time itself is bounded, too.

    That prunes files, where a function of the time does not.
    """
    time = F.col("event_time")
    in_range = time.between(min(minutes), max(minutes) + MINUTE)
    return in_range & minute_of(time).isin(*minutes)

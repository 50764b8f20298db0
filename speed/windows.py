"""The speed layer's memory: what is known of the minutes that are being traded in.

A window is emitted whole, so all of its trades must be at hand; but a micro-batch speaks of a few
seconds only. So trades are remembered by second, beside the second bars that they make, and a
minute bar is made of its seconds: the cost of a micro-batch follows what it speaks of, not what
the minute has seen. A minute that is not remembered (it is old, or the process has just started)
is loaded whole from the speed layer's own rows and from batch silver.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from lakehouse.transforms.bars import bars_1s
from lakehouse.transforms.events import minute_of, second_of
from lakehouse.transforms.trades import (
    OBSERVED_COLUMNS,
    resolve,
)
from schemas import contract
from speed.minutes import MINUTE, of_minutes
from speed.rows import gather, is_one_of, keep

# Late events mostly belong to the last minutes; an older minute costs one look into the tables. At
# 5,000 events a second a minute's trades are some 90 MB.
REMEMBERED_MINUTES = 10
# Each DataFrame of the memory also holds trades that a later one has replaced.
MOST_PARTS_OF_A_MINUTE = 8
SECOND = timedelta(seconds=1)


class WindowMemory:
    """All known trades of the most recently touched minutes, and their second bars.

    Args:
        spark: The session.
        minutes: How many minutes are remembered.
        carried: Columns that trades have beside those that they are resolved by.
        sums: Of these, those that bars add up, with the types of the sums.
    """

    def __init__(
        self,
        spark: SparkSession,
        minutes: int = REMEMBERED_MINUTES,
        *,
        carried: Iterable[str] = (),
        sums: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._spark = spark
        self._capacity = minutes
        self._carried = tuple(carried)
        self._sums = sums
        self._columns = contract("silver.trades").column_names
        # Several windows may share a DataFrame, each reading its own rows of it.
        self._trades_by_second: dict[datetime, DataFrame] = {}
        self._bars_by_minute: OrderedDict[datetime, DataFrame] = OrderedDict()

    def seconds_spoken_of(self, news: DataFrame, seconds: Collection[datetime]) -> set[datetime]:
        """Return the seconds that may hold trades which news speak of under another time.

        A trade is the same within its minute: of two reports whose times differ the first counts.
        Venues number their trades as they happen, so the range of a second's trade ids tells nearly
        always that none of them is meant; a second too many costs time and changes no value.

        Args:
            news: Materialised observations.
            seconds: The seconds of their event times.
        """
        minutes = minutes_of(seconds)
        if forgotten := minutes - self._bars_by_minute.keys():
            self._load(forgotten)
        start = F.col("window_start")
        bars = gather(self._bars_by_minute, minutes, minute_of(start))
        others = bars.where(~is_one_of(start, seconds)).alias("other")
        is_spoken_of = (
            (F.col("other.venue") == F.col("new.venue"))
            & (F.col("other.symbol") == F.col("new.symbol"))
            & (minute_of(start) == minute_of(F.col("new.event_time")))
            & F.col("new.trade_id").between(F.col("lowest_trade_id"), F.col("highest_trade_id"))
        )
        found = others.join(F.broadcast(news.alias("new")), is_spoken_of, "left_semi")
        return {row.window_start for row in found.select(start).distinct().collect()}

    def trades(self, seconds: Collection[datetime]) -> DataFrame:
        """Return every trade seen so far of some seconds, one row each, as in ``silver.trades``.

        Args:
            seconds: Seconds of minutes that are remembered.
        """
        return gather(self._trades_by_second, seconds, second_of(F.col("event_time")))

    def remember(self, seconds: Collection[datetime], trades: DataFrame) -> DataFrame:
        """Keep all trades of some seconds, in place of what was known of them.

        Args:
            seconds: The seconds that ``trades`` has every trade of, all of them recalled before.
            trades: Materialised resolved trades.

        Returns:
            The second bars of all minutes that the seconds are in.
        """
        minutes = minutes_of(seconds)
        start = F.col("window_start")
        known = gather(self._bars_by_minute, minutes, minute_of(start))
        fresh = self._summary(trades)
        bars = keep(known.where(~is_one_of(start, seconds)).union(fresh).coalesce(1))
        self._trades_by_second |= dict.fromkeys(seconds, trades)
        self._bars_by_minute |= dict.fromkeys(minutes, bars)
        for minute in sorted(minutes):
            self._bars_by_minute.move_to_end(minute)
        return bars

    def settle(self) -> None:
        """Forget the minutes beyond the capacity; put together the parts of those that rest."""
        while len(self._bars_by_minute) > self._capacity:
            forgotten, _ = self._bars_by_minute.popitem(last=False)
            for second in seconds_of([forgotten]):
                del self._trades_by_second[second]
        *resting, _ = self._bars_by_minute
        for minute in resting:
            seconds = seconds_of([minute])
            parts = {id(self._trades_by_second[second]) for second in seconds}
            if len(parts) > MOST_PARTS_OF_A_MINUTE:
                whole = keep(self.trades(seconds).coalesce(1))
                self._trades_by_second |= dict.fromkeys(seconds, whole)

    def _load(self, minutes: Collection[datetime]) -> None:
        trades = keep(self._read(minutes))
        self._trades_by_second |= dict.fromkeys(seconds_of(minutes), trades)
        self._bars_by_minute |= dict.fromkeys(minutes, keep(self._summary(trades)))

    def _read(self, minutes: Collection[datetime]) -> DataFrame:
        """Read minutes from the tables: own rows first, since rows move from speed to batch."""
        own, batch = (
            self._spark.table(f"{CATALOG_NAME}.silver.{table}")
            .where(of_minutes(minutes))
            .select(*OBSERVED_COLUMNS, *self._carried)
            for table in ("trades_rt", "trades")
        )
        return resolve(keep(own).union(batch), self._carried).select(*self._columns)

    def _summary(self, trades: DataFrame) -> DataFrame:
        """Summarise trades by second, and tell between which ids they are."""
        lowest, highest = F.min("trade_id"), F.max("trade_id")
        ids = (lowest.alias("lowest_trade_id"), highest.alias("highest_trade_id"))
        return bars_1s(trades, *ids, carried=self._sums)


def minutes_of(seconds: Iterable[datetime]) -> set[datetime]:
    """Return the minutes that some seconds are in."""
    return {second.replace(second=0) for second in seconds}


def seconds_of(minutes: Iterable[datetime]) -> list[datetime]:
    """Return all seconds of some minutes."""
    return [minute + number * SECOND for minute in minutes for number in range(MINUTE // SECOND)]

"""What folds do with rows: take in the new, keep them, gather those that are remembered."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any, Self, TypeVar

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from lakehouse.tracing import ROWS, describe_span

_Key = TypeVar("_Key")


def keep(rows: DataFrame) -> DataFrame:
    """Compute rows now and keep them, without the history of how they came to be.

    Serialised, since Spark would otherwise walk through every object to estimate their size, which
    costs more than to compute them.
    """
    return rows.localCheckpoint(eager=True, storageLevel=StorageLevel.MEMORY_AND_DISK)


def gather(owners: Mapping[_Key, DataFrame], keys: Iterable[_Key], key: Column) -> DataFrame:
    """Return the rows of some keys, each key's from the DataFrame that owns it.

    Args:
        owners: By key, the DataFrame that has its rows, and perhaps old rows of other keys.
        keys: The keys, at least one.
        key: What the key of a row is.
    """
    owned: dict[int, tuple[DataFrame, list[_Key]]] = {}
    for one in keys:
        owned.setdefault(id(owners[one]), (owners[one], []))[1].append(one)
    return reduce(DataFrame.union, (rows.where(is_one_of(key, of)) for rows, of in owned.values()))


def is_one_of(value: Column, values: Collection[Any]) -> Column:
    """Tell whether a value is among others; unlike `isin`, in code that none is written into.

    Spark would compile the code of each micro-batch anew for the sake of its values.
    """
    return F.array_contains(F.array(*map(F.lit, values)), value)


@dataclass(frozen=True)
class News:
    """What a micro-batch says, and of what.

    Attributes:
        rows: Its observations, materialised.
        keys: What they are of, such as the seconds of their event times.
        moved: Tells whether a row stands where the micro-batch has put it, at its first event or
            beyond.
    """

    rows: DataFrame
    keys: frozenset[Any]
    moved: Column

    @classmethod
    def of(cls, micro_batch: DataFrame, key: Column) -> Self | None:
        """Return the news of a micro-batch, if there are any.

        Args:
            micro_batch: The observations of consecutive records of each partition.
            key: What an observation is of.
        """
        rows = keep(micro_batch)
        touched = (
            rows.groupBy("log_partition", key.alias("key"))
            .agg(F.min("last_offset").alias("first_position"), F.count("*").alias("observations"))
            .collect()
        )
        describe_span({ROWS: sum(row.observations for row in touched)})
        if not touched:
            return None
        return cls(rows, frozenset(row.key for row in touched), _moved_by(touched))


def _moved_by(touched: Iterable[Row]) -> Column:
    """Tell of a row whether it stands at the first position of its partition or beyond.

    A map, not a chain of comparisons: Spark writes numbers into the code that it generates, and
    would compile the code of every micro-batch anew.
    """
    firsts: dict[int, int] = {}
    for row in touched:
        first = firsts.get(row.log_partition, row.first_position)
        firsts[row.log_partition] = min(first, row.first_position)
    first = F.create_map(*map(F.lit, chain.from_iterable(firsts.items())))
    return F.col("last_offset") >= first[F.col("log_partition")]

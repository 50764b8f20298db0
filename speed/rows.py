"""What folds do with rows: keep them, gather those that are remembered, tell which have moved."""

from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from itertools import chain
from typing import Any, TypeVar

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

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


def moved_by(touched: Iterable[Row]) -> Column:
    """Tell whether a row stands where a micro-batch has put it, at its first event or beyond.

    A map, not a chain of comparisons: Spark writes numbers into the code that it generates, and
    would compile the code of every micro-batch anew.

    Args:
        touched: Rows with ``log_partition`` and ``first_position``, of all that was touched.
    """
    firsts: dict[int, int] = {}
    for row in touched:
        first = firsts.get(row.log_partition, row.first_position)
        firsts[row.log_partition] = min(first, row.first_position)
    first = F.create_map(*map(F.lit, chain.from_iterable(firsts.items())))
    return F.col("last_offset") >= first[F.col("log_partition")]

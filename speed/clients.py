"""The speed layer's memory of clients: all fills of those who traded last.

A position is folded whole, so all fills of its client must be at hand. A client who is not
remembered is loaded whole from the speed layer's own rows and from batch silver.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.catalog import CATALOG_NAME
from lakehouse.transforms.fills import OBSERVED_COLUMNS, resolve
from schemas import contract
from speed.rows import gather, keep

# A thousand clients of a thousand fills each are some 150 MB; another costs one look into the
# tables.
REMEMBERED_CLIENTS = 1_000
# A gathering reads so many DataFrames at most, each of which also holds fills that a later one has
# replaced.
MOST_PARTS = 8


class ClientMemory:
    """All known fills of the clients who traded last.

    Args:
        spark: The session.
        clients: How many are remembered.
        carried: Columns that fills have beside those that they are resolved by.
    """

    def __init__(
        self,
        spark: SparkSession,
        clients: int = REMEMBERED_CLIENTS,
        *,
        carried: Iterable[str] = (),
    ) -> None:
        self._spark = spark
        self._capacity = clients
        self._carried = tuple(carried)
        self._columns = contract("silver.fills").column_names
        # Several clients may share a DataFrame, each reading its own rows of it.
        self._fills: OrderedDict[str, DataFrame] = OrderedDict()

    def fills(self, clients: Collection[str]) -> DataFrame:
        """Return every fill seen so far of some clients, one row each, as in ``silver.fills``."""
        if forgotten := set(clients) - self._fills.keys():
            self._fills |= dict.fromkeys(forgotten, keep(self._read(forgotten)))
        return gather(self._fills, clients, F.col("customer_id"))

    def remember(self, clients: Collection[str], fills: DataFrame) -> None:
        """Keep all fills of some clients, in place of what was known of them.

        Args:
            clients: Of whom ``fills`` has every fill.
            fills: Materialised resolved fills.
        """
        self._fills |= dict.fromkeys(clients, fills)
        for client in sorted(clients):
            self._fills.move_to_end(client)

    def settle(self) -> None:
        """Forget the clients beyond the capacity; put small parts of the memory together."""
        while len(self._fills) > self._capacity:
            self._fills.popitem(last=False)
        owned: dict[int, list[str]] = {}
        for client, part in self._fills.items():
            owned.setdefault(id(part), []).append(client)
        if len(owned) > MOST_PARTS:
            # The largest part is mostly of clients who rest: it is left as it is.
            _, *smaller = sorted(owned.values(), key=len, reverse=True)
            clients = [client for part in smaller for client in part]
            whole = keep(gather(self._fills, clients, F.col("customer_id")).coalesce(1))
            self._fills |= dict.fromkeys(clients, whole)

    def _read(self, clients: Collection[str]) -> DataFrame:
        """Read clients from the tables: own rows first, since rows move from speed to batch."""
        own, batch = (
            self._spark.table(f"{CATALOG_NAME}.silver.{table}")
            .where(F.col("customer_id").isin(*clients))
            .select(*OBSERVED_COLUMNS, *self._carried)
            for table in ("fills_rt", "fills")
        )
        return resolve(keep(own).union(batch), self._carried).select(*self._columns)

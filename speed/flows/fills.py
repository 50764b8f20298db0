"""Clients' fills and their positions: new events in, whole rows out."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.kafka import FILLS_TOPIC
from lakehouse.transforms.fills import OBSERVED_COLUMNS, observe, resolve, validate
from lakehouse.transforms.positions import POSITION_KEY, positions
from schemas import contract
from speed.clients import ClientMemory
from speed.flow import AppendTogether
from speed.rows import News, keep

FILLS, FILLS_RT, POSITIONS_RT = "silver.fills", "silver.fills_rt", "gold.positions_rt"


class Fills:
    """``oms.fills`` into ``silver.fills_rt`` and ``gold.positions_rt``."""

    name = "fills"
    topic = FILLS_TOPIC
    tables = (FILLS_RT, POSITIONS_RT)

    def observe(self, events: DataFrame) -> DataFrame:
        """Return what the sound among decoded events say about their fills."""
        return observe(validate(events), contract(FILLS).carried)

    def fold(self, spark: SparkSession) -> "FillsFold":
        """Return what folds observations of fills."""
        return FillsFold(spark)


class FillsFold:
    """Folds micro-batches of observations into ``silver.fills_rt`` and ``gold.positions_rt``.

    Both tables are logs of row versions. A micro-batch that is processed again after a crash finds
    its own fills in the memory, resolves to the same rows, and appends the same versions.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._carried = contract(FILLS).carried
        self._memory = ClientMemory(spark, carried=self._carried)
        self._append = AppendTogether(len(Fills.tables))

    def process(self, micro_batch: DataFrame) -> None:
        """Process one micro-batch.

        Args:
            micro_batch: The observations of consecutive records of each partition.
        """
        news = News.of(micro_batch, F.col("customer_id"))
        if news is None:
            return
        clients = sorted(news.keys)
        known = self._memory.fills(clients).select(*OBSERVED_COLUMNS, *self._carried)
        resolved = resolve(known.union(news.rows), self._carried)
        fills = keep(resolved.select(*contract(FILLS).column_names))
        self._memory.remember(clients, fills)
        new_fills = fills.where(news.moved)
        # A position stands where its newest fill does: others of the clients are as they were.
        meant = new_fills.select(*POSITION_KEY).distinct()
        whole = fills.join(F.broadcast(meant), [*POSITION_KEY], "left_semi")
        moved = keep(positions(whole).where(news.moved))
        self._append({FILLS_RT: new_fills, POSITIONS_RT: moved})
        self._memory.settle()

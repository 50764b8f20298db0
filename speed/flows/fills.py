"""Clients' fills and their positions: new events in, whole rows out."""

from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.kafka import FILLS_TOPIC
from lakehouse.transforms.fills import OBSERVED_COLUMNS, observe, resolve, validate
from lakehouse.transforms.positions import POSITION_KEY, positions
from speed.clients import FILL_COLUMNS, ClientMemory
from speed.flow import append
from speed.rows import keep, moved_by

FILLS_RT, POSITIONS_RT = "silver.fills_rt", "gold.positions_rt"


class Fills:
    """``oms.fills`` into ``silver.fills_rt`` and ``gold.positions_rt``."""

    name = "fills"
    topic = FILLS_TOPIC
    tables = (FILLS_RT, POSITIONS_RT)

    def observe(self, events: DataFrame) -> DataFrame:
        """Return what the sound among decoded events say about their fills."""
        return observe(validate(events))

    def fold(self, spark: SparkSession) -> "FillsFold":
        """Return what folds observations of fills."""
        return FillsFold(spark)


class FillsFold:
    """Folds micro-batches of observations into ``silver.fills_rt`` and ``gold.positions_rt``.

    Both tables are logs of row versions. A micro-batch that is processed again after a crash finds
    its own fills in the memory, resolves to the same rows, and appends the same versions.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._memory = ClientMemory(spark)
        self._writers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="append")

    def process(self, micro_batch: DataFrame) -> None:
        """Process one micro-batch.

        Args:
            micro_batch: The observations of consecutive records of each partition.
        """
        news = keep(micro_batch)
        touched = (
            news.groupBy("log_partition", "customer_id")
            .agg(F.min("last_offset").alias("first_position"))
            .collect()
        )
        if not touched:
            return
        clients = sorted({row.customer_id for row in touched})
        known = self._memory.fills(clients).select(*OBSERVED_COLUMNS)
        fills = keep(resolve(known.union(news)).select(*FILL_COLUMNS))
        self._memory.remember(clients, fills)
        moved = moved_by(touched)
        # A position stands where its newest fill does: others of the clients are as they were.
        meant = fills.where(moved).select(*POSITION_KEY).distinct()
        whole = fills.join(F.broadcast(meant), [*POSITION_KEY], "left_semi")
        # Each table is complete by itself, so neither needs to wait for the other.
        writes = [(FILLS_RT, fills.where(moved)), (POSITIONS_RT, positions(whole).where(moved))]
        list(self._writers.map(lambda write: append(*write), writes))
        self._memory.settle()

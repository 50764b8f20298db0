"""Clients' fills and the positions made of them: not by the hour, since a position is of all time.

A position's row must have seen every event below its offset, whatever hour that is about. So a run
also takes in what was ingested before its interval and no run has published. It folds the events
into what silver knows of their customers: resolved fills are observations, so an event that is
folded in again changes nothing, and neither does the order of the runs.
"""

from collections.abc import Iterable
from typing import Any

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from batch.activity import ACTIVITY, write_activity
from batch.dataset import Work, Written
from batch.inputs import ingested_in, within
from batch.pairs import Pair
from batch.steps import write_keyed
from lakehouse.kafka import FILLS_TOPIC
from lakehouse.transforms.fills import (
    BUY,
    FILL_KEY,
    OBSERVED_COLUMNS,
    SELL,
    counts,
    observe,
    resolve,
    validate,
)
from lakehouse.transforms.positions import POSITION_KEY, positions
from schemas import contract

FILLS, POSITIONS = "silver.fills", "gold.positions"
CUSTOMERS = "silver.customers"


class Fills:
    """``silver.fills`` of the customers whom a run's events are about, positions and activity."""

    name = "fills"
    topic = FILLS_TOPIC
    tables = (FILLS, POSITIONS, ACTIVITY)
    pairs = (
        Pair(FILLS, key=FILL_KEY, time="event_time", windowed=False),
        Pair(POSITIONS, key=POSITION_KEY, time="last_fill_at", windowed=False),
    )

    def validate(self, events: DataFrame) -> DataFrame:
        """Judge decoded events about fills."""
        return validate(events)

    def write(self, work: Work) -> Written:
        """Fold the events into the fills of their customers; make positions and activity of it."""
        carried = contract(FILLS).carried
        news, refused = _news(work, carried)
        customers = [row.customer_id for row in news.select("customer_id").distinct().collect()]
        if not customers:
            return Written(refused=refused)
        theirs = F.col("customer_id").isin(customers)
        silver, gold = work.branches[FILLS], work.branches[POSITIONS]
        known = silver.read(work.spark).where(theirs).select(*OBSERVED_COLUMNS, *carried)
        resolved = resolve(known.union(news), carried)
        written = {FILLS: write_keyed(work, resolved, silver, where=theirs)}
        fills = silver.read(work.spark).where(theirs)
        written[POSITIONS] = write_keyed(
            work, positions(fills), gold, where=theirs, totals=_totals(fills)
        )
        of = work.spark.createDataFrame(
            [(customer,) for customer in customers], "customer_id string"
        )
        written |= write_activity(work, fills=fills, customers=work.read(CUSTOMERS), of=of)
        return Written(written, refused)


def _news(work: Work, carried: Iterable[str]) -> tuple[DataFrame, int]:
    """Return what the events say that silver may not know, and how many the interval refused."""
    judged = Observation()
    is_refused = F.col("rejection").isNotNull() & ingested_in(work.interval)
    due = within("ingested_at", [work.interval, *work.unpublished()])
    events = work.judge(work.bronze.where(due))
    events = events.observe(judged, F.count_if(is_refused).alias("refused"))
    news = observe(events, carried).localCheckpoint()
    return news, judged.get["refused"]


def _totals(fills: DataFrame) -> dict[str, Any]:
    """Add up what the positions of some fills must add up to."""
    is_bought, is_sold = F.col("side") == BUY, F.col("side") == SELL
    row: dict[str, Any] = (
        fills.where(counts(F.col("state")))
        .agg(
            F.count("*").alias("fill_count"),
            F.sum("fee").alias("fees"),
            F.sum(F.when(is_bought, F.col("quantity")).otherwise(-F.col("quantity"))).alias(
                "quantity"
            ),
            F.sum(F.when(is_bought, F.col("notional"))).alias("bought_notional"),
            F.sum(F.when(is_sold, F.col("notional"))).alias("sold_notional"),
        )
        .collect()[0]
        .asDict()
    )
    return row

"""``gold.customer_activity_daily``: made of fills and of customers, so the runs of both write it.

A run of fills reads the customers that are published, a run of customers the fills. Both work on a
branch of this table that they make first. So of two runs at once, the one that publishes later
finds the table published to and begins anew, and then sees what the other has published.
"""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch.dataset import Work
from batch.steps import replace_parts
from lakehouse.transforms.customers import customer_activity_daily
from lakehouse.transforms.fills import counts

ACTIVITY = "gold.customer_activity_daily"


def write_activity(
    work: Work, *, fills: DataFrame, customers: DataFrame, of: DataFrame
) -> Mapping[str, int]:
    """Tell anew what some customers did, by what they were then; nothing of retired months.

    Args:
        work: The run.
        fills: Rows of ``silver.fills``, those of these customers among them.
        customers: Rows of ``silver.customers``, likewise.
        of: ``customer_id``, distinct: whose activity.

    Returns:
        How many rows are new, different or gone.

    Raises:
        batch.audit.AuditError: A fill is missing or counted twice.
    """
    chosen = F.broadcast(of)
    theirs = fills.where(counts(F.col("state"))).join(chosen, "customer_id", "left_semi")
    if (since := work.retired.get(ACTIVITY)) is not None:  # whole months: no day is cut in two
        theirs = theirs.where(F.col("event_time") >= F.lit(since))
    totals: dict[str, Any] = (
        theirs.agg(
            F.count("*").alias("fill_count"),
            F.sum("notional").alias("notional"),
            F.sum("fee").alias("fee"),
        )
        .collect()[0]
        .asDict()
    )
    rows = customer_activity_daily(theirs, customers.join(chosen, "customer_id", "left_semi"))
    branch = work.branches[ACTIVITY]
    return {ACTIVITY: replace_parts(work, rows, branch, of, totals=totals)}

"""Customers: their whole history, told anew for those whom the interval's changes touch."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch.activity import ACTIVITY, write_activity
from batch.dataset import Work, Written
from batch.inputs import ingested_in
from batch.pairs import Pair
from batch.steps import replace_parts
from lakehouse.kafka import CUSTOMERS_TOPIC
from lakehouse.transforms.customers import history, observe_changes, validate_changes

CUSTOMERS, FILLS = "silver.customers", "silver.fills"


class Customers:
    """``silver.customers``, and what these customers did by what they were.

    Nobody is told anew whom no change of the interval speaks of.
    """

    name = "customers"
    topic = CUSTOMERS_TOPIC
    tables = (CUSTOMERS, ACTIVITY)
    pairs: tuple[Pair, ...] = ()

    def validate(self, events: DataFrame) -> DataFrame:
        """Judge decoded changes."""
        return validate_changes(events)

    def write(self, work: Work) -> Written:
        """Write the history of the touched customers from all of their changes, and their activity.

        A change may be of any time, so what is taken is not bounded by hours, only by the time
        before which a change must have been ingested: that of the newest run, which must not be
        taken back.
        """
        # A key is the customer's id; a change under another key is refused.
        touched = (
            work.bronze.where(ingested_in(work.interval))
            .select("message_key", F.col("message_key").cast("string").alias("customer_id"))
            .distinct()
            .localCheckpoint()
        )
        records = work.bronze.where(F.col("ingested_at") < F.lit(work.newest_end)).join(
            F.broadcast(touched.select("message_key")), "message_key", "left_semi"
        )
        branch, customers = work.branches[CUSTOMERS], touched.select("customer_id")
        written = replace_parts(
            work, history(observe_changes(work.judge(records))), branch, customers
        )
        states = branch.read(work.spark)
        activity = write_activity(work, fills=work.read(FILLS), customers=states, of=customers)
        refused = work.interval_events.where(F.col("rejection").isNotNull()).count()
        return Written({CUSTOMERS: written, **activity}, refused)

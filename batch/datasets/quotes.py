"""Quotes and the spreads made of them: whole business hours, from all of their events."""

from pyspark.sql import DataFrame

from batch.dataset import Work, Written
from batch.inputs import within
from batch.pairs import Pair
from batch.steps import write_hours, write_keyed
from lakehouse.intervals import covering
from lakehouse.kafka import QUOTES_TOPIC
from lakehouse.transforms.quotes import observe, resolve, spreads_1m, validate

QUOTES, SPREADS = "silver.quotes", "gold.spreads_1m"


class Quotes:
    """``silver.quotes`` by the hour, and the spreads of the minutes of these hours."""

    name = "quotes"
    topic = QUOTES_TOPIC
    tables = (QUOTES, SPREADS)
    pairs = (
        Pair(QUOTES, key=("venue", "symbol", "update_id"), time="event_time"),
        Pair(SPREADS, key=("venue", "symbol"), time="window_start"),
    )

    def validate(self, events: DataFrame) -> DataFrame:
        """Judge decoded quotes."""
        return validate(events)

    def write(self, work: Work) -> Written:
        """Write the quotes of the touched hours, then the spreads that they make.

        Spreads that were retired do not come back.
        """
        written = write_hours(
            work,
            work.branches[QUOTES],
            lambda events: resolve(observe(events)),
            time="event_time",
        )
        hours = covering(
            hour for hour in work.as_of if work.keeps(QUOTES, hour) and work.keeps(SPREADS, hour)
        )
        quotes = work.branches[QUOTES].read(work.spark).where(within("event_time", hours))
        changed = write_keyed(
            work,
            spreads_1m(quotes),
            work.branches[SPREADS],
            where=within("window_start", hours),
            totals={"quote_count": quotes.count()},
        )
        return Written({**written.rows, SPREADS: changed}, written.refused)

"""What batch does about an interval that Spark cannot compute.

It looks for the event as the speed layer does, by halving. Of a topic that both read, whoever meets
it first finds it: only batch computes the longer bars and what customers did. What the speed layer
has made of it by then, that layer takes back.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pyiceberg.catalog import Catalog
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from batch.dataset import Dataset
from lakehouse.errors import LakehouseError, first_line
from lakehouse.intervals import Interval
from lakehouse.isolation import isolate, stands_among
from lakehouse.poison import Layer, Place, is_of_data


class PoisonedIntervalError(LakehouseError):
    """Spark cannot compute with an event that passed every rule."""


@contextmanager
def naming_poison(dataset: Dataset, interval: Interval) -> Iterator[None]:
    """Say of what Spark cannot compute what it is, and what to do.

    Raises:
        PoisonedIntervalError: In place of Spark's error, if that is of the data.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, LakehouseError) or not is_of_data(error):
            raise
        raise PoisonedIntervalError(
            f"Spark cannot compute {dataset.name} of {interval}: for no event that has yet to "
            f"be published, so none was set aside; {first_line(error)}"
        ) from error


def isolate_among(
    catalog: Catalog, topic: str, records: DataFrame, compute: Callable[[Column], None]
) -> None:
    """Note the events among some that a run cannot be computed with.

    Args:
        catalog: The lake's catalog.
        topic: The topic that the records are of.
        records: Bronze rows: what the run would publish first.
        compute: Computes the run from those of the records that a condition holds of, and
            whatever is published already; publishes nothing.

    Raises:
        lakehouse.isolation.PoisonedStreamError: There are too many; none is noted.
        Exception: What Spark says when it cannot compute the run without any of them either.
    """
    accepted = F.lit(False)
    compute(accepted)

    def take(part: Sequence[Place]) -> None:
        nonlocal accepted
        together = accepted | stands_among(part)
        compute(together)
        accepted = together

    isolate(catalog, topic, records, take, layer=Layer.BATCH)

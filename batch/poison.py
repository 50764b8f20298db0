"""What batch says when Spark cannot compute an interval: the event is the speed layer's to find."""

from collections.abc import Iterator
from contextlib import contextmanager

from lakehouse.errors import LakehouseError, first_line
from lakehouse.intervals import Interval
from lakehouse.poison import is_of_data


class PoisonedIntervalError(LakehouseError):
    """Spark cannot compute with an event that passed every rule, and nobody knows yet which."""


@contextmanager
def naming_poison(dataset: str, interval: Interval) -> Iterator[None]:
    """Say of what Spark cannot compute what it is, and what to do.

    Raises:
        PoisonedIntervalError: In place of Spark's error, if that is of the data.
    """
    try:
        yield
    except Exception as error:
        if not is_of_data(error):
            raise
        raise PoisonedIntervalError(
            f"Spark cannot compute {dataset} of {interval}: the speed layer finds out which event "
            "it is and notes it in ops.poison_events; run the interval again after that; "
            f"{first_line(error)}"
        ) from error

"""How long the speed layer goes on trying what has failed."""

from collections.abc import Iterator
from random import uniform
from time import monotonic

from lakehouse.poison import is_of_data

# What is away for longer is for an operator; until then a restart would only lose time.
OUTAGE_SECONDS = 900.0
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 10.0
# What Spark cannot compute once it mostly never can; but to look for the event takes a minute.
ATTEMPTS = 3


class Patience:
    """How often what has failed is tried again, and after which waits."""

    def __init__(self, *, once: bool) -> None:
        self._once = once
        self._faults = 0
        self.renew()

    def renew(self) -> None:
        """Note that the query makes progress, or has nothing to do."""
        self._worked_at, self._waits = monotonic(), _backoff()

    @property
    def asks_to_isolate(self) -> bool:
        """Whether the data were at fault so often that the events are to be found."""
        return self._faults == ATTEMPTS

    def isolated(self) -> None:
        """Note that they were, by whichever layer."""
        self._faults = 0

    def wait_after(self, error: Exception) -> float:
        """Return how many seconds to wait until the next try.

        Raises:
            Exception: The error itself, if there is to be none.
        """
        if is_of_data(error):
            if self.asks_to_isolate:
                raise error
            self._faults += 1
        elif self._once or monotonic() - self._worked_at > OUTAGE_SECONDS:
            raise error
        return next(self._waits)


def _backoff() -> Iterator[float]:
    """Yield seconds to wait, twice as long each time, with jitter."""
    longest = FIRST_WAIT_SECONDS
    while True:
        yield uniform(longest / 2, longest)  # noqa: S311 - not a secret
        longest = min(2 * longest, LONGEST_WAIT_SECONDS)

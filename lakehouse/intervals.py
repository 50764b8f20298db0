"""Data intervals: the half-open stretches of ingestion time that batch steps are functions of."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from lakehouse.errors import LakehouseError

HOUR = timedelta(hours=1)


class IntervalError(LakehouseError):
    """A time or an interval that cannot be meant."""

    exit_code = 2


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time as UTC; a time without a zone is taken as UTC.

    Raises:
        IntervalError: The text is no ISO 8601 time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise IntervalError(
            f"{text!r} is no ISO 8601 time, such as 2024-08-09T00:00:00Z"
        ) from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def hour_of(time: datetime) -> datetime:
    """Return the start of the UTC hour that a time falls in."""
    return time.replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True, order=True)
class Interval:
    """The times t with ``start <= t < end``, in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise IntervalError("an interval needs times with a zone")
        if self.start >= self.end:
            raise IntervalError(
                f"the interval starts at {self.start} and ends before, at {self.end}"
            )

    @classmethod
    def parse(cls, start: str, end: str) -> Self:
        """Return the interval between two ISO 8601 times."""
        return cls(parse_time(start), parse_time(end))

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"

    def split(self, step: timedelta) -> Iterator["Interval"]:
        """Yield this interval's consecutive pieces of at most ``step``."""
        start = self.start
        while start < self.end:
            end = min(start + step, self.end)
            yield Interval(start, end)
            start = end


def covering(hours: Iterable[datetime]) -> list[Interval]:
    """Return the fewest intervals that cover exactly these hours, in order.

    Args:
        hours: Starts of UTC hours, in any order; repeats are harmless.
    """
    intervals: list[Interval] = []
    for hour in sorted(set(hours)):
        if intervals and intervals[-1].end == hour:
            intervals[-1] = Interval(intervals[-1].start, hour + HOUR)
        else:
            intervals.append(Interval(hour, hour + HOUR))
    return intervals

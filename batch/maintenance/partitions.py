"""Partitions of time: where the one begins that a time falls in, and what lies before it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pyiceberg.transforms import DayTransform, HourTransform, MonthTransform, YearTransform
from pyiceberg.types import DateType

from schemas.contract import TableContract

# The partition that a time falls in begins where all smaller units are at their first value.
_STARTS: dict[str, Callable[[datetime], datetime]] = {
    str(HourTransform()): lambda time: time.replace(minute=0),
    str(DayTransform()): lambda time: time.replace(minute=0, hour=0),
    str(MonthTransform()): lambda time: time.replace(minute=0, hour=0, day=1),
    str(YearTransform()): lambda time: time.replace(minute=0, hour=0, day=1, month=1),
}


@dataclass(frozen=True)
class Before:
    """The rows whose time is before a certain one.

    Attributes:
        column: The column that holds the time.
        time: The first time that is not meant, UTC.
        is_date: The column holds days; then ``time`` is the beginning of one.
    """

    column: str
    time: datetime
    is_date: bool = False

    @property
    def sql(self) -> str:
        """The condition in Spark's SQL."""
        kind = "DATE" if self.is_date else "TIMESTAMP"
        return f"{self.column} < {kind} '{self._text}'"

    @property
    def row_filter(self) -> str:
        """The condition as PyIceberg plans scans by it."""
        return f"{self.column} < '{self._text}'"

    @property
    def _text(self) -> str:
        return self.time.date().isoformat() if self.is_date else self.time.isoformat()


@dataclass(frozen=True)
class TimePartitions:
    """A table's partitioning by the hours, days, months or years of one column."""

    column: str
    transform: str
    is_date: bool

    @classmethod
    def of(cls, contract: TableContract) -> Self | None:
        """Return the partitioning by time that a contract states, if it states one."""
        for part in contract.partitioning:
            if (transform := str(part.transform)) in _STARTS:
                is_date = isinstance(contract.column(part.column).type, DateType)
                return cls(part.column, transform, is_date)
        return None

    def whole_before(self, time: datetime) -> Before:
        """Return the rows of the partitions that had ended at a time (UTC), and of no other."""
        start = _STARTS[self.transform](time.replace(second=0, microsecond=0))
        return Before(self.column, start, self.is_date)

    def before(self, time: datetime) -> Before:
        """Return the rows before a time (UTC), wherever in a partition it falls."""
        return self.whole_before(time) if self.is_date else Before(self.column, time)

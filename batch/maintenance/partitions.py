"""Partitions of time: where the one begins that a time falls in, and what lies before it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform, HourTransform, MonthTransform, YearTransform
from pyiceberg.types import DateType

from schemas.contract import TableContract

# The partition that a time falls in begins where all smaller units are at their first value. The
# shortest come first.
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

    def coarsest(self, table: Table, spec_ids: Iterable[int]) -> Self:
        """Return the longest partitions that this column has had, among some specs of a table.

        Files keep the partitions that they were written by when a table is partitioned anew.
        """
        transforms = [
            str(part.transform)
            for spec_id in spec_ids
            for part in table.specs()[spec_id].fields
            if table.schema().find_column_name(part.source_id) == self.column
        ]
        known = [transform for transform in _STARTS if transform in (self.transform, *transforms)]
        return replace(self, transform=known[-1])

    def before(self, time: datetime) -> Before:
        """Return the rows before a time (UTC), wherever in a partition it falls."""
        return self.whole_before(time) if self.is_date else Before(self.column, time)

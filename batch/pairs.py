"""Tables of both layers, and what makes their rows the same."""

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from batch.inputs import hours_of, within
from lakehouse.errors import LakehouseError
from lakehouse.intervals import covering
from lakehouse.transforms.events import minute_of
from schemas import contract


@dataclass(frozen=True)
class Pair:
    """A batch table and its speed twin.

    Attributes:
        batch: The batch table.
        key: Columns that identify a row, within its minute if it is ``windowed``.
        time: The column that tells when a row happened.
        windowed: Whether rows belong to a minute; a row of a minute never moves to another.
    """

    batch: str
    key: tuple[str, ...]
    time: str
    windowed: bool = True

    @property
    def speed(self) -> str:
        """The speed layer's twin."""
        twin = contract(self.batch).speed_twin
        if twin is None:
            raise LakehouseError(f"the contract of {self.batch} names no speed twin")
        return twin

    def key_columns(self) -> dict[str, Column]:
        """Return what identifies a row, by name."""
        columns = {name: F.col(name) for name in self.key}
        return columns | ({"minute": minute_of(F.col(self.time))} if self.windowed else {})

    def is_kept(self, since: datetime | None) -> Column:
        """Tell whether a row is of the time that the batch table has not retired.

        Args:
            since: The time before which it has; None if it has retired nothing.
        """
        return F.lit(True) if since is None else F.col(self.time) >= F.lit(since)

    def rows_like(self, rows: DataFrame) -> Column:
        """Return a condition that holds for every row with a key of some rows; prunes files."""
        if not self.windowed:
            return F.lit(True)
        return within(self.time, covering(hours_of(rows, self.time)))

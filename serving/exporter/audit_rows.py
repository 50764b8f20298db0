"""Reads an audit table again when it has changed."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from pyiceberg.table import Table

# A month of hourly runs is some 1,500 rows; what is older changes no gauge that anybody watches.
WINDOW = timedelta(days=31)


class AuditRows:
    """The rows of an audit table of the last month, oldest first; read when it has changed.

    Args:
        name: The table.
        columns: What is read of it.
        also: Which rows are read however old they are, as a filter of Iceberg's.
    """

    def __init__(self, name: str, columns: Iterable[str], *, also: str | None = None) -> None:
        self.name = name
        self._columns = (*columns, "recorded_at")
        self._or_also = f" or {also}" if also else ""
        self._snapshot_id: int | None = None
        self._rows: list[dict[str, Any]] = []

    def of(self, table: Table) -> list[dict[str, Any]]:
        """Return the rows."""
        snapshot = table.current_snapshot()
        if snapshot is not None and snapshot.snapshot_id != self._snapshot_id:
            since = (datetime.now(UTC) - WINDOW).isoformat()
            recent = f"recorded_at >= '{since}'"
            scan = table.scan(recent + self._or_also, selected_fields=self._columns)
            self._rows = scan.to_arrow().sort_by("recorded_at").to_pylist()
            self._snapshot_id = snapshot.snapshot_id
        return self._rows

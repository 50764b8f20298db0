"""The engine that answers SQL: DuckDB in this process, or Trino where a stack runs."""

from datetime import datetime
from typing import Protocol

import pyarrow as pa

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings


class Engine(Protocol):
    """Answers SQL over the lake and the merged views; the dialect is each engine's own."""

    def query(self, sql: str, *, as_of: datetime | None = None) -> pa.Table:
        """Run one statement and return its rows, those of a time gone by if one is given.

        Raises:
            LakehouseError: It is wrong, refused or fails; see the engine.
        """
        ...

    def relations(self) -> tuple[str, ...]:
        """Return the names of all tables and merged views, such as ``gold.bars_1m``."""
        ...

    def close(self) -> None:
        """Give back what the engine holds; a later query opens it again."""
        ...


def sql_engine(settings: Settings) -> Engine:
    """Return the engine of a home.

    Raises:
        serving.trino_engine.TrinoSettingsError: Trino's address is set, but not who asks it.
    """
    if settings.trino is not None:
        from serving.trino_engine import TrinoEngine  # noqa: PLC0415 - its client is slow to import

        return TrinoEngine(settings)
    from serving.engine import SqlEngine  # noqa: PLC0415 - so is DuckDB

    return SqlEngine(load_catalog(settings))

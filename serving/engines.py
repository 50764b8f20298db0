"""The engine that answers SQL: DuckDB in this process, or Trino where a stack runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from queue import LifoQueue
from typing import Protocol

import pyarrow as pa

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from serving.decimals import Dialect


class Engine(Protocol):
    """Answers SQL over the lake and the merged views."""

    @property
    def dialect(self) -> Dialect:
        """The dialect that it understands."""
        ...

    def query(
        self,
        sql: str,
        *,
        as_of: datetime | None = None,
        batch_only: bool = False,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        """Run one statement and return its rows, those of a time gone by if one is given.

        Args:
            sql: The statement.
            as_of: The time, UTC.
            batch_only: Show in merged views what batch has published, and nothing else.
            timeout_seconds: The statement is ended after this time; None lets it run.

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


def sql_engine(
    settings: Settings, *, at_once: int = 1, patience_seconds: float | None = None
) -> Engine:
    """Return the engine of a home.

    Args:
        settings: The home.
        at_once: How many queries threads may run at the same time.
        patience_seconds: How long a server that does not answer is asked again; None for as long
            as a person may wait.

    Raises:
        serving.trino_engine.TrinoSettingsError: Trino's address is set, but not who asks it.
    """
    if settings.trino is not None:
        from serving.trino_engine import TrinoEngine  # noqa: PLC0415 - its client is slow to import

        return TrinoEngine(settings, patience_seconds=patience_seconds)
    from serving.engine import SqlEngine  # noqa: PLC0415 - so is DuckDB

    catalog = load_catalog(settings)
    if at_once == 1:
        return SqlEngine(catalog)
    return EnginePool([SqlEngine(catalog) for _ in range(at_once)])


class EnginePool:
    """Engines that run one query at a time each, as one that runs as many as there are."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        # The one used last has what it read at hand.
        self._idle: LifoQueue[Engine] = LifoQueue()
        for engine in engines:
            self._idle.put(engine)

    @property
    def dialect(self) -> Dialect:
        """The dialect that they understand."""
        return self._engines[0].dialect

    def query(
        self,
        sql: str,
        *,
        as_of: datetime | None = None,
        batch_only: bool = False,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        """Run one statement on the engine that is idle first; see `Engine`."""
        with self._one() as engine:
            return engine.query(
                sql, as_of=as_of, batch_only=batch_only, timeout_seconds=timeout_seconds
            )

    def relations(self) -> tuple[str, ...]:
        """Return the names of all tables and merged views, such as ``gold.bars_1m``."""
        with self._one() as engine:
            return engine.relations()

    def close(self) -> None:
        """Give back what the engines hold; a later query opens them again."""
        for engine in self._engines:
            engine.close()

    @contextmanager
    def _one(self) -> Iterator[Engine]:
        engine = self._idle.get()
        try:
            yield engine
        finally:
            self._idle.put(engine)

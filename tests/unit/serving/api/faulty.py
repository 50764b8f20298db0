"""An engine that does what a test tells it to: it waits, fails, or answers."""

from collections.abc import Callable
from datetime import datetime
from threading import Event, Lock
from time import monotonic

import pyarrow as pa

from serving.decimals import Dialect
from serving.engine import TimeIsUpError
from serving.engines import Engine

# What the engine is asked whether it is there at all: not a test's own question.
HEALTH = "SELECT 1"


class FaultyEngine:
    """Stands before a real engine.

    Attributes:
        fault: Called before every query.
        held: Queries wait for it, or for their time to be over.
        asked: Queries so far.
        at_once: The most that were under way at a time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._under_way = 0
        self.fault: Callable[[], None] = lambda: None
        self.held = Event()
        self.held.set()
        self.asked = self.at_once = 0

    @property
    def dialect(self) -> Dialect:
        return self._engine.dialect

    def query(
        self,
        sql: str,
        *,
        as_of: datetime | None = None,
        batch_only: bool = False,
        timeout_seconds: float | None = None,
    ) -> pa.Table:
        if sql == HEALTH:
            return self._engine.query(sql)
        ends = None if timeout_seconds is None else monotonic() + timeout_seconds
        with self._lock:
            self.asked += 1
            self._under_way += 1
            self.at_once = max(self.at_once, self._under_way)
        try:
            self.fault()
            if not self.held.wait(timeout_seconds):
                raise TimeIsUpError("held for too long")
            left = None if ends is None else ends - monotonic()
            return self._engine.query(sql, as_of=as_of, batch_only=batch_only, timeout_seconds=left)
        finally:
            with self._lock:
                self._under_way -= 1

    def relations(self) -> tuple[str, ...]:
        return self._engine.relations()

    def close(self) -> None:
        self._engine.close()

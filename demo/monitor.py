"""What the demo watches: how far the log, bronze and the merged view have got."""

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyiceberg.catalog import Catalog

from demo.freshness import Freshness, FreshnessProbe
from lakehouse.progress import Progress, read_progress
from serving.engines import Engine

BRONZE = "bronze.market_trades"
RECONCILED, PROVISIONAL = "RECONCILED", "PROVISIONAL"
RECENT_SECONDS = 10.0
RATE_SECONDS = 5.0

BAR_COLUMNS = "venue, symbol, window_start, close, trade_count, last_trade_at, last_offset, status"


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Rows of the merged minute bars, and the trades in them, by status."""

    bars: Mapping[str, int]
    trades: Mapping[str, int]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "Layers":
        """Count merged bars."""
        bars, trades = Counter[str](), Counter[str]()
        for row in rows:
            bars[row["status"]] += 1
            trades[row["status"]] += row["trade_count"]
        return cls(bars=bars, trades=trades)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The loop at one moment.

    Attributes:
        expected: Events that the replay will send in all.
        produced: Events in the log.
        rate: Events produced in a second, over the last few.
        landed: Events in bronze.
        unseen: Events in the log that the merged view does not show yet.
        speed_rows: Row versions that the speed layer's minute bars hold.
        bars: Merged minute bars, by time and instrument.
        recent: Freshness of what became visible in the last ten seconds.
        overall: Freshness of everything seen so far.
    """

    expected: int
    produced: int
    rate: float
    landed: int
    unseen: int
    speed_rows: int
    bars: Sequence[Mapping[str, Any]]
    layers: Layers
    recent: Freshness | None
    overall: Freshness | None

    @property
    def landing_lag(self) -> int:
        """Events in the log and not yet in bronze."""
        return max(0, self.produced - self.landed)

    @property
    def market_time(self) -> datetime | None:
        """Time of the newest trade in the merged view."""
        return max((bar["last_trade_at"] for bar in self.bars), default=None)


class Monitor:
    """Looks at everything at once, for the screen and for decisions.

    Args:
        catalog: The lake.
        engine: Reads the merged view; shared with nobody who measures.
        probe: Follows the log and measures freshness.
        expected: Events that the replay will send in all.
    """

    def __init__(
        self, catalog: Catalog, engine: Engine, probe: FreshnessProbe, expected: int
    ) -> None:
        self._catalog = catalog
        self._engine = engine
        self._probe = probe
        self._expected = expected
        self._produced: deque[tuple[float, int]] = deque()

    def observe(self) -> Observation:
        """Look at the log, bronze and the merged view."""
        progress = self.progress()
        bars = self._engine.query(
            f"SELECT {BAR_COLUMNS} FROM serving.bars_1m ORDER BY window_start, venue, symbol"
        ).to_pylist()
        held = self._engine.query("SELECT count(*) AS n FROM gold.bars_1m_rt").to_pylist()
        produced = self._probe.produced
        return Observation(
            expected=self._expected,
            produced=produced,
            rate=self._rate(produced),
            landed=sum(progress.offsets.values()) if progress else 0,
            unseen=self._probe.unseen,
            speed_rows=held[0]["n"],
            bars=bars,
            layers=Layers.of(bars),
            recent=self._probe.recent(RECENT_SECONDS),
            overall=self._probe.freshness(),
        )

    def progress(self) -> Progress | None:
        """Return how far the lander has got."""
        return read_progress(self._catalog.load_table(BRONZE))

    def landed_from(self, moment: datetime) -> int:
        """Return of how many instruments bronze holds an event of ``moment`` or later."""
        rows = self._engine.query(
            f"SELECT count(DISTINCT message_key) AS n FROM {BRONZE} "
            f"WHERE event_time >= TIMESTAMPTZ '{moment.isoformat()}'"
        ).to_pylist()
        count: int = rows[0]["n"]
        return count

    def newest_ingestion(self) -> datetime | None:
        """Return the greatest ``ingested_at`` in bronze."""
        rows = self._engine.query(f"SELECT max(ingested_at) AS at FROM {BRONZE}").to_pylist()
        newest: datetime | None = rows[0]["at"]
        return newest

    def _rate(self, produced: int) -> float:
        now = time.monotonic()
        self._produced.append((now, produced))
        while self._produced[0][0] < now - RATE_SECONDS:
            self._produced.popleft()
        earlier, count = self._produced[0]
        return (produced - count) / (now - earlier) if now > earlier else 0.0

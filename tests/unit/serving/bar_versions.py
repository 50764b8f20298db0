"""Versions of bars in both layers, and what a plain merge makes of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

from hypothesis import strategies as st

START = datetime(2024, 2, 28, 22, 58, tzinfo=UTC)
MINUTES = 130  # crosses two hours and a day


@dataclass(frozen=True)
class Version:
    """One row of a layer; what it says is a function of key and offset, as in the real tables."""

    symbol: str
    minute: int
    last_offset: int
    is_live: bool
    price: Decimal
    volume: Decimal
    notional: Decimal

    @property
    def key(self) -> tuple[str, int]:
        return self.symbol, self.minute

    @property
    def start(self) -> datetime:
        return START + timedelta(minutes=self.minute)

    def row(self) -> dict[str, object]:
        low = self.price / 2
        return {
            "venue": "v",
            "symbol": self.symbol,
            "window_start": self.start,
            "open": self.price if self.is_live else None,
            "high": self.price + 1 if self.is_live else None,
            "low": low.quantize(Decimal("1e-8")) if self.is_live else None,
            "close": self.price - Decimal("1e-8") if self.is_live else None,
            "volume": self.volume if self.is_live else Decimal(0),
            "notional": self.notional if self.is_live else Decimal(0),
            "vwap": None,
            "trade_count": 3 if self.is_live else 0,
            "first_trade_at": self.start + timedelta(seconds=1) if self.is_live else None,
            "last_trade_at": self.start + timedelta(seconds=59) if self.is_live else None,
            "log_partition": 0,
            "last_offset": self.last_offset,
        }


def decimals(digits: int, places: int, at_least: int = 1) -> st.SearchStrategy[Decimal]:
    return st.integers(at_least, 10**digits - 1).map(lambda n: Decimal(n).scaleb(-places))


versions = st.builds(
    Version,
    symbol=st.sampled_from(("A", "B")),
    minute=st.integers(0, 3) | st.integers(0, MINUTES),
    last_offset=st.integers(0, 4),
    is_live=st.booleans() | st.just(True),
    price=decimals(17, 8),
    volume=decimals(30, 8) | decimals(9, 8, at_least=0),
    notional=decimals(35, 16) | decimals(17, 16),
)


@st.composite
def layers(draw: st.DrawFn) -> tuple[list[Version], list[Version]]:
    """Draw a batch table (one row per key) and a speed table (versions, some of them twice)."""
    pool = draw(st.lists(versions, max_size=14, unique_by=lambda v: (*v.key, v.last_offset)))
    batch = draw(st.lists(st.sampled_from(pool), unique_by=lambda v: v.key)) if pool else []
    speed = draw(st.lists(st.sampled_from(pool), max_size=20)) if pool else []
    return batch, speed


def every_situation() -> tuple[list[Version], list[Version]]:
    """Make a key for each situation that one key can be in, with log positions 1, 2 and 3.

    Each position made a live bar or a tombstone; batch has no row or that of one position; speed
    has each position's row not at all, once or twice.
    """
    batch, speed = [], []
    situations = product(
        product((True, False), repeat=3), (None, 0, 1, 2), product((0, 1, 2), repeat=3)
    )
    for number, (is_live, published, copies) in enumerate(situations):
        minute, symbol = divmod(number, 2)
        rows = [
            Version("AB"[symbol], minute, at + 1, is_live[at], *(Decimal(at + 1),) * 3)
            for at in range(3)
        ]
        batch += [] if published is None else [rows[published]]
        speed += [row for row, times in zip(rows, copies, strict=True) for _ in range(times)]
    return batch, speed


def merge(batch: Iterable[Version], speed: Iterable[Version]) -> list[tuple[Version, str]]:
    """Merge as the design says it, one key at a time."""
    best: dict[tuple[str, int], tuple[Version, str]] = {}
    for version in speed:
        if version.key not in best or version.last_offset > best[version.key][0].last_offset:
            best[version.key] = version, "PROVISIONAL"
    for version in batch:
        if version.key not in best or version.last_offset >= best[version.key][0].last_offset:
            best[version.key] = version, "RECONCILED"
    live = [pair for pair in best.values() if pair[0].is_live]
    return sorted(live, key=lambda pair: pair[0].key)


def expected(batch: Iterable[Version], speed: Iterable[Version]) -> list[dict[str, object]]:
    rows = [version.row() | {"status": status} for version, status in merge(batch, speed)]
    for row in rows:
        del row["log_partition"]
    return rows

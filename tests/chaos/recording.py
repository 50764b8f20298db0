"""Recordings of a market that never was: trades and quotes as an exchange's frames state them."""

import json
import random
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

INSTRUMENTS: Final = {
    "binance_spot": ("BTCUSDT", "ETHUSDT"),
    "binance_coinm": ("BTCUSD_PERP",),
}
QUOTES: Final = 0.6
REPEATED: Final = 0.05
# Quotes that are none, and frames that are none.
CROSSED: Final = 0.02
BROKEN: Final = 0.01
CENTS: Final = 100


def write_recordings(
    folder: Path, *, start: datetime, seconds: float, rate: float, seed: int
) -> list[Path]:
    """Write a recording of each venue, and return the files.

    Args:
        folder: Where to; it is made.
        start: Time of the first frame.
        seconds: Length of the recording.
        rate: Frames a second, of all venues together.
        seed: Another seed, another market.
    """
    folder.mkdir()
    files = []
    for venue, symbols in INSTRUMENTS.items():
        market = _Market(venue, symbols, random.Random(f"{seed} {venue}"), _ms(start))
        frames = int(seconds * rate / len(INSTRUMENTS))
        files.append(folder / f"{venue}.frames")
        files[-1].write_text("".join(market.lines(frames, seconds / frames)))
    return files


class _Market:
    """One venue."""

    def __init__(
        self, venue: str, symbols: tuple[str, ...], chance: random.Random, start_ms: int
    ) -> None:
        self._is_futures = venue == "binance_coinm"
        self._symbols = symbols
        self._chance = chance
        self._start_ms = start_ms
        self._cents = dict.fromkeys(symbols, 6_000 * CENTS)
        # Recordings of the same market follow one another.
        self._ids = count(start_ms)

    def lines(self, frames: int, step_seconds: float) -> Iterator[str]:
        """Yield ``<receive time, ns> <frame>`` lines."""
        frame = ""
        for number in range(frames):
            now = self._start_ms + int(number * step_seconds * 1000)
            if not frame or self._chance.random() >= REPEATED:
                frame = self._frame(now)
            yield f"{now * 1_000_000} {frame}\n"

    def _frame(self, now: int) -> str:
        if self._chance.random() < BROKEN:
            return '{"stream": "'
        symbol = self._chance.choice(self._symbols)
        self._cents[symbol] = max(CENTS, self._cents[symbol] + self._chance.randint(-300, 300))
        is_quote = self._chance.random() < QUOTES
        kind, fields = (
            ("bookTicker", self._quote(symbol)) if is_quote else ("trade", self._trade(symbol, now))
        )
        # Spot states no time of a quote, and no kind of it.
        if self._is_futures or not is_quote:
            fields |= {"e": kind, "E": now, "T": now}
        return json.dumps({"stream": f"{symbol.lower()}@{kind}", "data": {"s": symbol, **fields}})

    def _quote(self, symbol: str) -> dict[str, Any]:
        bid = self._cents[symbol]
        ask = bid + self._chance.randint(1, 90)
        if self._chance.random() < CROSSED:
            bid, ask = ask, bid
        return {
            "u": next(self._ids),
            "b": _price(bid),
            "B": self._quantity(),
            "a": _price(ask),
            "A": self._quantity(),
        }

    def _trade(self, symbol: str, now: int) -> dict[str, Any]:
        return {
            "t": next(self._ids),
            "p": _price(self._cents[symbol]),
            "q": self._quantity(),
            "m": bool(self._chance.getrandbits(1)),
            **({"X": "MARKET"} if self._is_futures else {}),
        }

    def _quantity(self) -> str:
        size = self._chance.randint(1, 5_000)
        return str(size) if self._is_futures else f"{size / 1_000:.3f}"


def _price(cents: int) -> str:
    return f"{cents // CENTS}.{cents % CENTS:02d}"


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)

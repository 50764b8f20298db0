"""The market behind the synthetic load: instruments, their prices, and a memory of its trades."""

import random
from decimal import Decimal
from itertools import accumulate, count
from typing import Final, cast

from ingestion.adapters import TradeEvent

# One instrument in so many counts contracts. It is listed under the symbol of the instrument before
# it, so that the same symbols and trade ids occur on two venues.
CONTRACT_EVERY: Final = 4
SPOT_VENUE: Final = "synth_spot"
CONTRACT_VENUE: Final = "synth_coinm"
CONTRACT_SIZE: Final = Decimal(100)
# Exponent of the distribution of trades over symbols: the k-th gets 1/k of what the first gets,
# unless the first one's share is given.
ZIPF_EXPONENT: Final = 1.0
# How long a trade takes to reach us, in microseconds.
TRANSIT: Final = 5_000

# Faults concern trades among so many of the latest: far enough to cross minutes and batches.
_MEMORY_BITS: Final = 12
_MEMORY: Final = 1 << _MEMORY_BITS

# Prices wander by cents from 100 USD. Small trades are the most common: the sizes are squares, in
# units of 0.0001 coins or of one contract. The tables' lengths are powers of two, so that one
# random number has the bits for all that is drawn of a trade.
_START_CENTS: Final = 10_000
_MOVE_BITS: Final = 4
_MOVES: Final = (-3, -2, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3)
_SIZE_BITS: Final = 7
_SIZES: Final = tuple(number * number for number in range(1, (1 << _SIZE_BITS) + 1))
_DRAWN_BITS: Final = 1 + _MOVE_BITS + _SIZE_BITS + _MEMORY_BITS
# Instruments are drawn so many at a time, because the random module is faster that way.
_BLOCK: Final = 4_096


class _Instrument:
    """One line of trades: ids that count up and a price that wanders."""

    __slots__ = ("cents", "contract_size", "ids", "quantities", "symbol", "unit", "venue")

    def __init__(self, number: int) -> None:
        contracts = number % CONTRACT_EVERY == CONTRACT_EVERY - 1
        self.venue = CONTRACT_VENUE if contracts else SPOT_VENUE
        self.symbol = f"SYN{number - contracts:04d}USD"
        self.unit = "CONTRACT" if contracts else "BASE"
        self.contract_size = CONTRACT_SIZE if contracts else None
        self.quantities = [
            Decimal(size) if contracts else Decimal(size).scaleb(-4) for size in _SIZES
        ]
        self.ids = count(1)
        self.cents = _START_CENTS


def shares(symbols: int, first: float | None) -> list[float]:
    """Return how trades are shared out among instruments; the sum may be any.

    Args:
        symbols: Number of instruments.
        first: The first one's share of all trades, in (0, 1]: the others have equal parts of the
            rest. None: the k-th has a k-th of what the first has.
    """
    if first is None:
        return [rank**-ZIPF_EXPONENT for rank in range(1, symbols + 1)]
    others = symbols - 1
    return [first, *((1 - first) / others for _ in range(others))]


class SyntheticMarket:
    """Makes trades, and amends those that it remembers; a function of what it is made of.

    Args:
        symbols: Number of instruments.
        seed: Another seed, another market.
        first_share: The first instrument's share of the trades, as of `shares`.
    """

    def __init__(self, symbols: int, seed: int, first_share: float | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311 - load, not secrets
        self._instruments = [_Instrument(number) for number in range(symbols)]
        self._weights = list(accumulate(shares(symbols, first_share)))
        self._drawn: list[_Instrument] = []
        self._recent: list[TradeEvent] = []
        self._prices: dict[int, Decimal] = {}

    def trade(self, now: int, event_time: int, *, remember: bool = True) -> TradeEvent:
        """Return a new trade.

        Args:
            now: The time at which the market is, in UTC microseconds.
            event_time: When the trade happened, likewise.
            remember: Whether it may be repeated, corrected and cancelled later.
        """
        if not self._drawn:
            self._drawn = self.random.choices(
                self._instruments, cum_weights=self._weights, k=_BLOCK
            )
        instrument = self._drawn.pop()
        bits = self.random.getrandbits(_DRAWN_BITS)
        side = "BUY" if bits & 1 else "SELL"
        bits >>= 1
        move = _MOVES[bits & (1 << _MOVE_BITS) - 1]
        bits >>= _MOVE_BITS
        instrument.cents = max(1, instrument.cents + move)
        event: TradeEvent = {
            "event_type": "TRADE",
            "venue": instrument.venue,
            "symbol": instrument.symbol,
            "trade_id": next(instrument.ids),
            "event_time": event_time,
            "price": self._price(instrument.cents),
            "quantity": instrument.quantities[bits & (1 << _SIZE_BITS) - 1],
            "quantity_unit": instrument.unit,
            "contract_size": instrument.contract_size,
            "aggressor_side": side,
            "received_at": now + TRANSIT,
        }
        if remember:
            self._remember(event, bits >> _SIZE_BITS)
        return event

    def earlier_trade(self) -> TradeEvent | None:
        """Return one of the recent trades, if there are any."""
        return self.random.choice(self._recent) if self._recent else None

    def correction(self, trade: TradeEvent, now: int) -> TradeEvent:
        """Return the news that a trade's price and quantity were others."""
        cents = int(cast(Decimal, trade["price"]) * 100) + self.random.randint(-50, 50)
        quantity = cast(Decimal, trade["quantity"]) * self.random.randint(1, 3)
        return amended(
            trade,
            event_type="CORRECTION",
            price=self._price(cents),
            quantity=quantity,
            received_at=now + TRANSIT,
        )

    def cancel(self, trade: TradeEvent, now: int) -> TradeEvent:
        """Return the news that a trade does not count."""
        return amended(
            trade, event_type="CANCEL", price=None, quantity=None, received_at=now + TRANSIT
        )

    def _remember(self, event: TradeEvent, place: int) -> None:
        if len(self._recent) < _MEMORY:
            self._recent.append(event)
        else:
            self._recent[place] = event

    def _price(self, cents: int) -> Decimal:
        cents = max(1, cents)
        price = self._prices.get(cents)
        if price is None:
            price = self._prices[cents] = Decimal(cents).scaleb(-2)
        return price


def amended(event: TradeEvent, **changes: object) -> TradeEvent:
    """Return an event with some fields changed."""
    return cast(TradeEvent, {**event, **changes})

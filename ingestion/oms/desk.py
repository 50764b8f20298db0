"""A desk whose clients open, grow, shrink, close and turn positions; a function of its seed."""

from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate, count
from random import Random
from typing import Final, TypedDict, cast

from ingestion.oms.market import MarketTrade

# What a client who holds something does next, and how likely.
_ACTIONS: Final = ("GROW", "SHRINK", "CLOSE", "FLIP")
_ACTION_WEIGHTS: Final = (45, 30, 15, 10)
# Orders are worth squares of ten in quote currency: small ones are the most common.
_WORTH: Final = tuple(Decimal(10 * number * number) for number in range(1, 65))
# An order is filled in about so many parts.
_PARTS: Final = 3
# Clients pay up to so many ten-thousandths more than the market, one fill after the other.
_SLIPPAGE_STEPS: Final = 6
_BASIS_POINT: Final = Decimal("0.0001")
_FEE: Final = 5 * _BASIS_POINT
_PLACES: Final = Decimal("0.00000001")
# Prices of a hundred-millionth would ask for more coins than fit the event.
_MAX_QUANTITY: Final = Decimal(10**9)
# How long after the market's trade a client's fill happens, and is heard of, in microseconds.
_MAX_LATENCY: Final = 50_000
_TRANSIT: Final = 5_000
# Busts and duplicates concern fills among so many of the latest.
_MEMORY: Final = 2_048

# What another seed does at the same desk is never a repetition: its ids are others.
_IDS_PER_SEED: Final = 10**9
_SEEDS: Final = 10**9

_Place = tuple[str, str, str]


class FillEvent(TypedDict):
    """One event about a fill; the fields are those of the topic's Avro schema.

    Times are UTC microseconds since 1970, quantities base units, prices and fees quote currency.
    """

    event_type: str
    customer_id: str
    order_id: int
    fill_id: int
    venue: str
    symbol: str
    event_time: int
    side: str | None
    quantity: Decimal | None
    price: Decimal | None
    fee: Decimal | None
    received_at: int | None


def customer_key(event: FillEvent) -> bytes:
    """Return the log key: all events of one customer are in one partition."""
    return event["customer_id"].encode()


class Desk:
    """Fills orders of its clients at the market's prices, and takes fills back."""

    def __init__(self, customers: int, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - load, not secrets
        self._customers = [f"C-{number:05d}" for number in range(1, customers + 1)]
        # The k-th client trades a k-th as often as the first.
        self._weights = list(accumulate(1 / rank for rank in range(1, customers + 1)))
        self._held: dict[_Place, Decimal] = defaultdict(Decimal)
        self._orders: dict[tuple[_Place, str], int] = {}
        first = seed % _SEEDS * _IDS_PER_SEED
        self._order_ids = count(first + 1)
        self._fill_ids: dict[str, int] = defaultdict(lambda: first)
        self._recent: list[FillEvent] = []

    def fill(self, trade: MarketTrade, *, remember: bool = True) -> FillEvent:
        """Return a fill of some client's order at about the price of a trade.

        Args:
            trade: Where the market is.
            remember: Whether the client holds it then, and it may be repeated and busted later.
        """
        (customer,) = self.random.choices(self._customers, cum_weights=self._weights)
        place = (customer, trade.venue, trade.symbol)
        size = self._size(self._held[place], trade.price)
        side = "BUY" if size > 0 else "SELL"
        self._fill_ids[customer] += 1
        price = _slipped(trade.price, side, self._fill_ids[customer])
        happened = trade.event_time + self.random.randint(0, _MAX_LATENCY)
        event: FillEvent = {
            "event_type": "FILL",
            "customer_id": customer,
            "order_id": self._order(place, side),
            "fill_id": self._fill_ids[customer],
            "venue": trade.venue,
            "symbol": trade.symbol,
            "event_time": happened,
            "side": side,
            "quantity": abs(size),
            "price": price,
            "fee": _rounded(abs(size) * price * _FEE),
            "received_at": happened + _TRANSIT,
        }
        if remember:
            self._held[place] += size
            self._remember(event)
        return event

    def earlier_fill(self) -> FillEvent | None:
        """Return one of the recent fills, if there are any."""
        return self.random.choice(self._recent) if self._recent else None

    def bust(self, fill: FillEvent) -> FillEvent:
        """Return the news that a fill does not count; its client holds that much less, or more."""
        size = cast(Decimal, fill["quantity"]) * (1 if fill["side"] == "BUY" else -1)
        self._held[fill["customer_id"], fill["venue"], fill["symbol"]] -= size
        return amended(fill, event_type="BUST", side=None, quantity=None, price=None, fee=None)

    def _size(self, held: Decimal, price: Decimal) -> Decimal:
        """Return what the client buys, or sells if it is negative."""
        worth = _rounded(self.random.choice(_WORTH) / price)
        more = min(max(worth, _PLACES), _MAX_QUANTITY)
        if not held:
            return more if self.random.getrandbits(1) else -more
        (action,) = self.random.choices(_ACTIONS, _ACTION_WEIGHTS)
        direction = 1 if held > 0 else -1
        match action:
            case "GROW":
                return direction * more
            case "SHRINK":
                part = _rounded(abs(held) * self.random.randint(1, 9) / 10)
                return -direction * min(max(part, _PLACES), _MAX_QUANTITY)
            case "CLOSE":
                return -direction * min(abs(held), _MAX_QUANTITY)
            case _:
                return -direction * min(abs(held) + more, _MAX_QUANTITY)

    def _order(self, place: _Place, side: str) -> int:
        """Return the order that is filled: the last one on the same side, or a new one."""
        if (place, side) not in self._orders or not self.random.randrange(_PARTS):
            self._orders[place, side] = next(self._order_ids)
        return self._orders[place, side]

    def _remember(self, event: FillEvent) -> None:
        if len(self._recent) < _MEMORY:
            self._recent.append(event)
        else:
            self._recent[self.random.randrange(_MEMORY)] = event


def amended(event: FillEvent, **changes: object) -> FillEvent:
    """Return an event with some fields changed."""
    return cast(FillEvent, {**event, **changes})


def _slipped(price: Decimal, side: str, number: int) -> Decimal:
    """Return the price that a client gets where others got ``price``: never a better one."""
    slippage = number % _SLIPPAGE_STEPS * _BASIS_POINT
    return max(_rounded(price * (1 + slippage if side == "BUY" else 1 - slippage)), _PLACES)


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_PLACES, rounding=ROUND_HALF_UP)

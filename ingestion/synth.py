"""Synthetic load: a market that never was, with every fault that a real feed has.

The messages are a function of the profile alone: the same profile gives the same messages, on any
machine and at any speed.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Final, NamedTuple

from ingestion.adapters import TradeEvent, event_key
from ingestion.adapters.canonical import MAX_EVENT_TIME
from ingestion.synthetic_market import SyntheticMarket, amended
from lakehouse.errors import LakehouseError

# A trade that others overtake is overtaken by up to so many messages.
_MAX_OVERTAKEN: Final = 200
_MAX_NOISE_BYTES: Final = 64

_MICROSECOND: Final = timedelta(microseconds=1)
_MICROSECONDS_PER_SECOND: Final = 1_000_000
_MAX_LATE: Final = timedelta(minutes=90) // _MICROSECOND
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LoadProfileError(LakehouseError):
    """A load profile cannot be played; the message names the field."""

    exit_code = 2


class RawMessage(NamedTuple):
    """A message that is no event: bytes that nobody can decode."""

    key: bytes
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class LoadProfile:
    """What the load looks like.

    The shares are fractions of all messages; what they leave are plain trades in order.

    Attributes:
        start: Event time of the first trade, with its time zone.
        symbols: Number of instruments. The k-th has a k-th of the first one's trades.
        seed: Another seed gives another market.
        events_per_second: Pace of event time.
        late: Share of trades of up to 90 minutes ago.
        duplicate: Share of recent trades that come again.
        out_of_order: Share of trades that later messages overtake, their own cancel perhaps too.
        corrections: Share of corrections of recent trades.
        cancels: Share of cancels of recent trades.
        bad: Share of messages that must be refused: half are events with a fault, half only bytes.
    """

    start: datetime
    symbols: int = 20
    seed: int = 0
    events_per_second: float = 5_000.0
    late: float = 0.0
    duplicate: float = 0.0
    out_of_order: float = 0.0
    corrections: float = 0.0
    cancels: float = 0.0
    bad: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a profile that cannot be played."""
        if self.symbols < 1:
            raise LoadProfileError(f"symbols is {self.symbols}: at least one is needed")
        if not self.events_per_second > 0:
            raise LoadProfileError(f"events_per_second is {self.events_per_second}, not positive")
        if self.start.tzinfo is None:
            raise LoadProfileError("start needs a time zone, as in 2024-08-08T12:00:00Z")
        for name in _MAKERS:
            if not 0 <= getattr(self, name) <= 1:
                raise LoadProfileError(f"{name} is {getattr(self, name)}: not between 0 and 1")
        if sum(getattr(self, name) for name in _MAKERS) > 1:
            raise LoadProfileError("the shares add up to more than 1")


def synthetic_events(profile: LoadProfile) -> Iterator[TradeEvent | RawMessage]:
    """Yield messages without end, in the order in which they reach the log."""
    market = SyntheticMarket(profile.symbols, profile.seed)
    first = (profile.start - _EPOCH) // _MICROSECOND
    step = _MICROSECONDS_PER_SECOND / profile.events_per_second
    bounds = _bounds(profile)
    faulty = bounds[-1][0]
    draw, trade = market.random.random, market.trade
    overtaken: list[tuple[int, int, TradeEvent]] = []
    for number in count():
        now = first + int(number * step)
        while overtaken and overtaken[0][0] <= number:
            yield heapq.heappop(overtaken)[2]
        chance = draw()
        if chance >= faulty:
            yield trade(now, now)
        elif chance < profile.out_of_order:
            due = number + market.random.randint(1, _MAX_OVERTAKEN)
            heapq.heappush(overtaken, (due, number, trade(now, now)))
        else:
            yield next(make for bound, make in bounds if chance < bound)(market, now)


_Maker = Callable[[SyntheticMarket, int], TradeEvent | RawMessage]


def _bounds(profile: LoadProfile) -> list[tuple[float, _Maker]]:
    """Return, for each kind of message, the bound below which a random number means it."""
    bounds, bound = [], 0.0
    for name, make in _MAKERS.items():
        bound += getattr(profile, name)
        bounds.append((bound, make))
    return bounds


def _plain(market: SyntheticMarket, now: int) -> TradeEvent:
    return market.trade(now, now)


def _late(market: SyntheticMarket, now: int) -> TradeEvent:
    return market.trade(now, now - market.random.randrange(_MAX_LATE))


def _duplicate(market: SyntheticMarket, now: int) -> TradeEvent:
    return market.earlier_trade() or _plain(market, now)


def _correction(market: SyntheticMarket, now: int) -> TradeEvent:
    trade = market.earlier_trade()
    return market.correction(trade, now) if trade else _plain(market, now)


def _cancel(market: SyntheticMarket, now: int) -> TradeEvent:
    trade = market.earlier_trade()
    return market.cancel(trade, now) if trade else _plain(market, now)


# What a decodable event can have wrong with it; each is refused for its own reason.
FAULTS: Final[tuple[dict[str, object], ...]] = (
    {"event_type": "AMENDMENT"},
    {"venue": "No Such Venue!"},
    {"symbol": "no/such/symbol"},
    {"trade_id": -1},
    {"price": None},
    {"price": Decimal(0)},
    {"price": Decimal(-1)},
    {"quantity": None},
    {"quantity": Decimal(0)},
    {"quantity_unit": "DOZEN"},
    {"quantity_unit": "CONTRACT", "contract_size": None},
    {"event_time": -1},
    {"event_time": MAX_EVENT_TIME},
)
# How bytes that are no event begin: anyhow, as a message of an unknown schema, as JSON.
_FRAMINGS: Final = (b"", b"\x00\x7f\xff\xff\xff", b"{")


def _bad(market: SyntheticMarket, now: int) -> TradeEvent | RawMessage:
    event = market.trade(now, now, remember=False)
    if market.random.getrandbits(1):
        return amended(event, **market.random.choice(FAULTS))
    noise = market.random.randbytes(market.random.randrange(_MAX_NOISE_BYTES))
    return RawMessage(event_key(event), market.random.choice(_FRAMINGS) + noise)


# By name of the share in the profile. The first is special: its trades are held back.
_MAKERS: Final[dict[str, _Maker]] = {
    "out_of_order": _plain,
    "late": _late,
    "duplicate": _duplicate,
    "corrections": _correction,
    "cancels": _cancel,
    "bad": _bad,
}

"""Synthetic load: a market that never was, with every fault that a real feed has.

The messages are a function of the profile alone: the same profile gives the same messages, on any
machine and at any speed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Final

from ingestion.adapters import TradeEvent, event_key
from ingestion.adapters.canonical import MAX_EVENT_TIME
from ingestion.faults import FaultShares, LoadProfileError, RawMessage, check_shares, mixed, noise
from ingestion.synthetic_market import SyntheticMarket, amended

_MICROSECOND: Final = timedelta(microseconds=1)
_MICROSECONDS_PER_SECOND: Final = 1_000_000
_MAX_LATE: Final = timedelta(minutes=90) // _MICROSECOND
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class LoadProfile(FaultShares):
    """What the load looks like.

    The shares are fractions of all messages; what they leave are plain trades in order.

    Attributes:
        start: Event time of the first trade, with its time zone.
        symbols: Number of instruments.
        skew: The first one's share of all trades, above 0 and at most 1; the others have equal
            parts of the rest. When None, the k-th has a k-th of the first one's trades.
        seed: Another seed gives another market.
        events_per_second: Pace of event time.
        late: Share of trades of up to 90 minutes ago.
        corrections: Share of corrections of recent trades.
        cancels: Share of cancels of recent trades.
        bad: Share of messages that must be refused: half are events with a fault, half only bytes.
    """

    start: datetime
    symbols: int = 20
    skew: float | None = None
    seed: int = 0
    events_per_second: float = 5_000.0
    late: float = 0.0
    corrections: float = 0.0
    cancels: float = 0.0
    bad: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a profile that cannot be played."""
        if self.symbols < 1:
            raise LoadProfileError(f"symbols is {self.symbols}: at least one is needed")
        if self.skew is not None and not 0 < self.skew <= 1:
            raise LoadProfileError(f"skew is {self.skew}: not above 0 and at most 1")
        if not self.events_per_second > 0:
            raise LoadProfileError(f"events_per_second is {self.events_per_second}, not positive")
        if self.start.tzinfo is None:
            raise LoadProfileError("start needs a time zone, as in 2024-08-08T12:00:00Z")
        check_shares({name: getattr(self, name) for name in ("out_of_order", *_MAKERS)})


def synthetic_events(profile: LoadProfile) -> Iterator[TradeEvent | RawMessage]:
    """Return messages without end, in the order in which they reach the log."""
    market = SyntheticMarket(profile.symbols, profile.seed, profile.skew)
    first = (profile.start - _EPOCH) // _MICROSECOND
    step = _MICROSECONDS_PER_SECOND / profile.events_per_second
    return mixed(
        (first + int(number * step) for number in count()),
        partial(_plain, market),
        [(getattr(profile, name), partial(make, market)) for name, make in _MAKERS.items()],
        out_of_order=profile.out_of_order,
        random=market.random,
    )


_Maker = Callable[[SyntheticMarket, int], TradeEvent | RawMessage]


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


def _bad(market: SyntheticMarket, now: int) -> TradeEvent | RawMessage:
    event = market.trade(now, now, remember=False)
    if market.random.getrandbits(1):
        return amended(event, **market.random.choice(FAULTS))
    return noise(event_key(event), market.random)


# By name of the share in the profile.
_MAKERS: Final[dict[str, _Maker]] = {
    "late": _late,
    "duplicate": _duplicate,
    "corrections": _correction,
    "cancels": _cancel,
    "bad": _bad,
}

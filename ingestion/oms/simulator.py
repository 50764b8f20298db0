"""Simulated executions, with every fault that real ones have.

The messages are a function of the market and the profile alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from ingestion.adapters.canonical import MAX_EVENT_TIME
from ingestion.faults import FaultShares, LoadProfileError, RawMessage, check_shares, mixed, noise
from ingestion.oms.desk import Desk, FillEvent, amended, customer_key
from ingestion.oms.market import MarketTrade

SHARES: Final = ("out_of_order", "late", "duplicate", "busts", "bad")


@dataclass(frozen=True, kw_only=True)
class OmsProfile(FaultShares):
    """What the executions look like.

    The shares are fractions of all messages; what they leave are plain fills in order.

    Attributes:
        customers: Number of clients. The k-th has a k-th of the first one's fills.
        fills: Number of messages, spread over the market at random.
        seed: Another seed is another day of the same clients, with ids of its own.
        late: Share of fills on any earlier trade of the market.
        busts: Share of busts of recent fills.
        bad: Share of messages that must be refused: half are events with a fault, half only bytes.
    """

    customers: int = 20
    fills: int = 1_000
    seed: int = 0
    late: float = 0.0
    busts: float = 0.0
    bad: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a profile that cannot be played."""
        for name in ("customers", "fills"):
            if getattr(self, name) < 1:
                raise LoadProfileError(f"{name} is {getattr(self, name)}: at least one is needed")
        check_shares({name: getattr(self, name) for name in SHARES})


def simulated_fills(
    market: Sequence[MarketTrade], profile: OmsProfile
) -> Iterator[FillEvent | RawMessage]:
    """Yield the messages, in the order in which they reach the log.

    Args:
        market: At least one trade, in order.
        profile: What the executions look like.
    """
    maker = _Maker(market, Desk(profile.customers, profile.seed))
    random = maker.desk.random
    return mixed(
        sorted(random.choices(range(len(market)), k=profile.fills)),
        maker.plain,
        [
            (profile.late, maker.late),
            (profile.duplicate, maker.duplicate),
            (profile.busts, maker.bust),
            (profile.bad, maker.bad),
        ],
        out_of_order=profile.out_of_order,
        random=random,
    )


# What a decodable event can have wrong with it; each is refused for its own reason.
FAULTS: Final[tuple[dict[str, object], ...]] = (
    {"event_type": "AMEND"},
    {"customer_id": "no such customer!"},
    {"order_id": -1},
    {"fill_id": -1},
    {"venue": "No Such Venue!"},
    {"symbol": "no/such/symbol"},
    {"event_time": -1},
    {"event_time": MAX_EVENT_TIME},
    {"side": None},
    {"side": "HOLD"},
    {"price": None},
    {"price": Decimal(0)},
    {"quantity": None},
    {"quantity": Decimal(-1)},
    {"fee": None},
    {"price": Decimal(10**9), "quantity": Decimal(10**9)},
)


class _Maker:
    """Makes each kind of message for a place in the market."""

    def __init__(self, market: Sequence[MarketTrade], desk: Desk) -> None:
        self.desk = desk
        self._market = market

    def plain(self, place: int) -> FillEvent | RawMessage:
        return self.desk.fill(self._market[place])

    def late(self, place: int) -> FillEvent | RawMessage:
        return self.desk.fill(self._market[self.desk.random.randrange(place + 1)])

    def duplicate(self, place: int) -> FillEvent | RawMessage:
        return self.desk.earlier_fill() or self.plain(place)

    def bust(self, place: int) -> FillEvent | RawMessage:
        fill = self.desk.earlier_fill()
        return self.desk.bust(fill) if fill else self.plain(place)

    def bad(self, place: int) -> FillEvent | RawMessage:
        event = self.desk.fill(self._market[place], remember=False)
        if self.desk.random.getrandbits(1):
            return amended(event, **self.desk.random.choice(FAULTS))
        return noise(customer_key(event), self.desk.random)

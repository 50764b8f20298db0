"""The independent oracle of fills and positions: one naive pass, in plain Python.

It shares no code with the platform's transforms. It reads the rules from the design: a fill is
`(customer_id, fill_id)`; its FILL with the lowest log position counts, and any BUST, before or
after, takes it back for good. A bust of a fill that was never seen counts nothing. A position is
what one customer holds of one instrument, by average cost. Every closing's profit is worked out by
itself here, where the platform derives their sum from the totals.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, NamedTuple

from demo.acceptance import CLOCK_ALLOWANCE, OLDEST_EVENT
from demo.oracle import EIGHT_PLACES, EXACT, LoggedEvent

Event = Mapping[str, Any]

LARGEST_FILL = 10**14


class FillKey(NamedTuple):
    """The identity of a fill."""

    customer_id: str
    fill_id: int


class PositionKey(NamedTuple):
    """The key of a position."""

    customer_id: str
    venue: str
    symbol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill:
    """One fill as of the events seen; columns and units as in `silver.fills`."""

    customer_id: str
    fill_id: int
    order_id: int
    venue: str
    symbol: str
    event_time: datetime
    state: str
    side: str | None
    quantity: Decimal | None
    price: Decimal | None
    notional: Decimal | None
    fee: Decimal | None
    fill_position: int | None
    bust_position: int | None
    log_partition: int
    last_offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """One position; columns and units as in `gold.positions`."""

    customer_id: str
    venue: str
    symbol: str
    quantity: Decimal
    average_cost: Decimal | None
    cost_basis: Decimal
    realised_pnl: Decimal
    fees: Decimal
    fill_count: int
    bought_quantity: Decimal
    bought_notional: Decimal
    sold_quantity: Decimal
    sold_notional: Decimal
    first_fill_at: datetime | None
    last_fill_at: datetime | None
    log_partition: int
    last_offset: int


def naive_fills(
    events: Iterable[LoggedEvent], *, include_tombstones: bool = False
) -> dict[FillKey, Fill]:
    """Return the fills that count; with `include_tombstones` the others as well."""
    said: dict[FillKey, list[LoggedEvent]] = defaultdict(list)
    for logged in sorted(events, key=lambda logged: logged.position):
        said[FillKey(logged.event["customer_id"], logged.event["fill_id"])].append(logged)
    fills = {key: _fill(key, about) for key, about in sorted(said.items())}
    return {
        key: fill for key, fill in fills.items() if include_tombstones or fill.state == "ACTIVE"
    }


def naive_positions(
    events: Iterable[LoggedEvent], *, include_tombstones: bool = False
) -> dict[PositionKey, Position]:
    """Return the positions with a fill that counts; with `include_tombstones` the others as well.

    `last_offset` is the highest position of any event about a reported fill of the position.
    """
    of: dict[PositionKey, list[Fill]] = defaultdict(list)
    for fill in naive_fills(events, include_tombstones=True).values():
        if fill.state != "UNMATCHED":
            of[PositionKey(fill.customer_id, fill.venue, fill.symbol)].append(fill)
    positions = {key: _position(key, fills) for key, fills in sorted(of.items())}
    return {
        key: position
        for key, position in positions.items()
        if include_tombstones or position.fill_count
    }


def fill_rejections(event: Event, kafka_timestamp: datetime) -> tuple[str, ...]:
    """Return every reason to refuse an event about a fill."""
    kind = event["event_type"]
    broken = {
        "unknown_event_type": kind not in ("FILL", "BUST"),
        "invalid_customer_id": not re.fullmatch("[A-Za-z0-9_-]{1,64}", event["customer_id"]),
        "invalid_order_id": event["order_id"] < 0,
        "invalid_fill_id": event["fill_id"] < 0,
        "invalid_venue": not re.fullmatch("[a-z0-9_]{1,32}", event["venue"]),
        "invalid_symbol": not re.fullmatch("[A-Z0-9._-]{1,32}", event["symbol"]),
        "event_time_too_old": event["event_time"] < OLDEST_EVENT,
        "event_time_in_future": event["event_time"] > kafka_timestamp + CLOCK_ALLOWANCE,
    }
    if kind == "FILL":
        price, quantity = event["price"], event["quantity"]
        broken |= {
            "unknown_side": event["side"] not in ("BUY", "SELL"),
            "missing_price": price is None,
            "non_positive_price": price is not None and price <= 0,
            "missing_quantity": quantity is None,
            "non_positive_quantity": quantity is not None and quantity <= 0,
            "missing_fee": event["fee"] is None,
            "implausible_size": (price or 0) * (quantity or 0) > LARGEST_FILL,
        }
    return tuple(reason for reason, holds in broken.items() if holds)


def _fill(key: FillKey, events: list[LoggedEvent]) -> Fill:
    """Reduce one fill's events, in log order, to what they say together."""
    reports = [logged for logged in events if logged.event["event_type"] == "FILL"]
    busts = [logged for logged in events if logged.event["event_type"] == "BUST"]
    named_by = (reports or busts)[0].event
    first = reports[0].event if reports else {}
    notional = None
    if reports:
        with localcontext(EXACT):
            notional = first["price"] * first["quantity"]
    return Fill(
        customer_id=key.customer_id,
        fill_id=key.fill_id,
        order_id=named_by["order_id"],
        venue=named_by["venue"],
        symbol=named_by["symbol"],
        event_time=named_by["event_time"],
        state="UNMATCHED" if not reports else "BUSTED" if busts else "ACTIVE",
        side=first.get("side"),
        quantity=first.get("quantity"),
        price=first.get("price"),
        notional=notional,
        fee=first.get("fee"),
        fill_position=reports[0].position if reports else None,
        bust_position=busts[0].position if busts else None,
        log_partition=events[-1].partition,
        last_offset=events[-1].position,
    )


def _position(key: PositionKey, fills: list[Fill]) -> Position:
    newest = max(fills, key=lambda fill: fill.last_offset)
    live = sorted(
        (fill for fill in fills if fill.state == "ACTIVE"),
        key=lambda fill: (fill.event_time, fill.fill_id),
    )
    book = _Book()
    with localcontext(EXACT):
        for fill in live:
            book.take(fill)
        fees = sum((fill.fee or Decimal(0) for fill in live), Decimal(0))
        bought, sold = (_totals(live, side) for side in ("BUY", "SELL"))
        cost_basis = book.basis if book.held >= 0 else -book.basis
        average = book.average if book.held else None
    return Position(
        **key._asdict(),
        quantity=book.held,
        average_cost=average,
        cost_basis=cost_basis,
        realised_pnl=book.realised,
        fees=fees,
        fill_count=len(live),
        bought_quantity=bought[0],
        bought_notional=bought[1],
        sold_quantity=sold[0],
        sold_notional=sold[1],
        first_fill_at=live[0].event_time if live else None,
        last_fill_at=live[-1].event_time if live else None,
        log_partition=newest.log_partition,
        last_offset=newest.last_offset,
    )


def _totals(fills: list[Fill], side: str) -> tuple[Decimal, Decimal]:
    of_side = [fill for fill in fills if fill.side == side]
    return (
        sum((fill.quantity or Decimal(0) for fill in of_side), Decimal(0)),
        sum((fill.notional or Decimal(0) for fill in of_side), Decimal(0)),
    )


class _Book:
    """What is held, what it cost, and what closing has earned so far."""

    def __init__(self) -> None:
        self.held = self.basis = self.realised = Decimal(0)

    @property
    def average(self) -> Decimal:
        """What a unit cost, at the resolution of prices."""
        return (self.basis / abs(self.held)).quantize(EIGHT_PLACES, rounding=ROUND_HALF_UP)

    def take(self, fill: Fill) -> None:
        """Let a fill open, add to, reduce, close or turn the position."""
        size, price = fill.quantity or Decimal(0), fill.price or Decimal(0)
        direction = 1 if fill.side == "BUY" else -1
        against = self.held * direction < 0
        closing = min(size, abs(self.held)) if against else Decimal(0)
        if closing:
            left = self.average * (abs(self.held) - closing)
            released, self.basis = self.basis - left, left
            proceeds = closing * price
            # Who was long sells what it cost; who was short buys back what was sold.
            self.realised += proceeds - released if direction < 0 else released - proceeds
        self.basis += (size - closing) * price
        self.held += size * direction

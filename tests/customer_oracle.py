"""The history of customers as one pass in the source's order tells it: the oracle, plain Python."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from demo.positions_oracle import Fill

BUSINESS = ("segment", "country", "status", "risk_class")


class Said(NamedTuple):
    """What one change says, as the oracle takes it; the state of who was deleted is None."""

    customer: str
    lsn: int
    snapshot: bool
    made_at: datetime
    state: Hashable | None


def in_order_pass(changes: Iterable[Said]) -> list[tuple[Any, ...]]:
    """Take each change once, in the source's order, and keep a list of states: the oracle."""
    told: dict[str, list[list[Any]]] = defaultdict(list)
    clock: dict[str, datetime] = {}
    for said in sorted(set(changes), key=lambda c: (c.lsn, c.snapshot, c.made_at)):
        states = told[said.customer]
        now = clock[said.customer] = max(said.made_at, clock.get(said.customer, said.made_at))
        held = states[-1] if states and states[-1][1] is None else None
        if held is not None and held[2] == said.state:
            if held[0] == now:
                held[3] = said.lsn
            continue
        if held is not None:
            held[1] = now
            if held[0] == now:
                states.pop()
        if said.state is None:
            continue
        if states and states[-1][1:3] == [now, said.state]:
            states[-1][1] = None
        else:
            states.append([now, None, said.state, said.lsn])
    return sorted((customer, *state) for customer, states in told.items() for state in states)


def naive_activity(
    fills: Iterable[Fill],
    states: Iterable[tuple[str, datetime, datetime | None, Mapping[str, Any]]],
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Add up fills that count by day and by what their customer was at the time.

    Args:
        fills: The fills.
        states: Customer, from when, until when, and what the customer was.
    """
    lives: dict[str, list[tuple[datetime, datetime | None, Mapping[str, Any]]]] = defaultdict(list)
    for customer, start, end, state in states:
        lives[customer].append((start, end, state))
    grouped: dict[tuple[Any, ...], list[Fill]] = defaultdict(list)
    for fill in fills:
        at = fill.event_time
        held = [
            state
            for start, end, state in lives[fill.customer_id]
            if start <= at and (end is None or at < end)
        ]
        was = [held[0][name] if held else "UNKNOWN" for name in BUSINESS]
        grouped[(at.date(), fill.customer_id, *was)].append(fill)
    names = ("business_date", "customer_id", *BUSINESS)
    return {
        key: dict(zip(names, key, strict=True)) | _activity(done) for key, done in grouped.items()
    }


def _activity(fills: list[Fill]) -> dict[str, Any]:
    def notional(*sides: str) -> Decimal:
        of_side = (fill.notional for fill in fills if fill.side in sides)
        return sum((amount for amount in of_side if amount is not None), Decimal(0))

    return {
        "fill_count": len(fills),
        "symbol_count": len({(fill.venue, fill.symbol) for fill in fills}),
        "notional": notional("BUY", "SELL"),
        "bought_notional": notional("BUY"),
        "sold_notional": notional("SELL"),
        "fee": sum((fill.fee or Decimal(0) for fill in fills), Decimal(0)),
        "first_fill_at": min(fill.event_time for fill in fills),
        "last_fill_at": max(fill.event_time for fill in fills),
    }

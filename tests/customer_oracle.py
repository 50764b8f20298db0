"""The history of customers as one pass in the source's order tells it: the oracle, plain Python."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Any, NamedTuple


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

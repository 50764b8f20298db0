"""The oracle of positions against positions that were worked out by hand."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from fill_log import bust, fill
from trade_log import NOON

from demo.oracle import in_order
from demo.positions_oracle import Position, fill_rejections, naive_fills, naive_positions

HOUR = timedelta(hours=1)


def position(*events: dict[str, Any], tombstone: bool = False) -> Position:
    (only,) = naive_positions(in_order(events, start=10), include_tombstones=tombstone).values()
    return only


def traded(*legs: tuple[str, str, str]) -> Position:
    """Return the position after fills given as side, quantity and price."""
    return position(
        *(
            fill(n, side=side, quantity=Decimal(size), price=Decimal(price))
            for n, (side, size, price) in enumerate(legs)
        )
    )


def values(found: Position) -> tuple[Decimal | None, ...]:
    return found.quantity, found.average_cost, found.cost_basis, found.realised_pnl


def test_growing_averages_and_shrinking_realises() -> None:
    found = traded(("BUY", "2", "100"), ("BUY", "1", "130"), ("SELL", "1", "150"))
    assert values(found) == (2, 110, 220, 40)
    assert (found.bought_quantity, found.bought_notional) == (3, 330)
    assert (found.sold_quantity, found.sold_notional) == (1, 150)
    assert (found.fees, found.fill_count, found.last_offset) == (Decimal("0.3"), 3, 12)


def test_a_short_position_earns_when_it_is_bought_back_for_less() -> None:
    assert values(traded(("SELL", "4", "10"), ("BUY", "1", "7"))) == (-3, 10, -30, 3)


def test_closing_leaves_nothing_but_the_profit() -> None:
    assert values(traded(("BUY", "3", "10"), ("SELL", "3", "9"))) == (0, None, 0, -3)


def test_a_flip_closes_the_old_side_and_opens_the_new_at_the_price() -> None:
    assert values(traded(("BUY", "2", "10"), ("SELL", "5", "12"))) == (-3, 12, -36, 4)
    assert values(traded(("SELL", "2", "10"), ("BUY", "5", "12"))) == (3, 12, 36, -4)


def test_a_reduction_leaves_the_average_and_profit_takes_the_rounding() -> None:
    found = traded(("BUY", "1", "10"), ("BUY", "2", "11"), ("SELL", "1", "20"))
    # (10 + 22) / 3 = 10.666…
    assert found.average_cost == Decimal("10.66666667")
    assert found.cost_basis == Decimal("21.33333334")
    assert found.realised_pnl == Decimal("9.33333334")


def test_the_order_is_that_of_event_time_then_fill_id() -> None:
    fills = [
        fill(3, side="SELL", quantity=Decimal(2), price=Decimal(30), event_time=NOON + HOUR),
        fill(2, quantity=Decimal(2), price=Decimal(20)),
        fill(1, quantity=Decimal(2), price=Decimal(10)),
    ]
    found = position(*fills)
    assert values(found) == (2, 15, 30, 30)
    assert (found.first_fill_at, found.last_fill_at) == (NOON, NOON + HOUR)


def test_a_duplicate_counts_once_whatever_it_says() -> None:
    found = position(fill(), fill(price=Decimal(1), symbol="ETHUSDT", event_time=NOON + HOUR))
    assert (found.symbol, found.cost_basis, found.fill_count, found.last_offset) == (
        "BTCUSDT",
        200,
        1,
        11,
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_bust_is_for_good_and_leaves_a_tombstone(first: bool) -> None:
    events = [bust(), fill()] if first else [fill(), bust()]
    assert naive_positions(in_order(events)) == {}
    found = position(*events, tombstone=True)
    assert values(found) == (0, None, 0, 0)
    assert (found.fill_count, found.fees, found.first_fill_at, found.last_offset) == (
        0,
        0,
        None,
        11,
    )


def test_a_bust_that_waits_for_its_fill_is_no_position() -> None:
    assert naive_positions(in_order([bust()]), include_tombstones=True) == {}
    (waiting,) = naive_fills(in_order([bust()]), include_tombstones=True).values()
    assert (waiting.state, waiting.side, waiting.notional) == ("UNMATCHED", None, None)


def test_every_reason_is_found() -> None:
    bad = fill(-1, event_type="AMEND", customer_id="", order_id=-1, venue="X", symbol="x")
    assert fill_rejections(bad, NOON) == (
        "unknown_event_type",
        "invalid_customer_id",
        "invalid_order_id",
        "invalid_fill_id",
        "invalid_venue",
        "invalid_symbol",
    )
    assert fill_rejections(fill(price=None, fee=None, side=None), NOON) == (
        "unknown_side",
        "missing_price",
        "missing_fee",
    )
    assert fill_rejections(bust(), NOON) == ()

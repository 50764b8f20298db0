"""Each step of the road from a log record to a resolved trade, on hand-made events."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, Row
from trade_log import NOON, payload

from lakehouse.transforms.trades import OBSERVED_COLUMNS, resolve

Observed = Callable[..., DataFrame]
Decoded = Callable[..., DataFrame]


def test_random_bytes_are_refused(decoded: Decoded) -> None:
    noise = [b"\x00\x00\x00\x00\x01" + bytes([n]) * (n % 40) for n in range(256)]
    assert all(row.rejection for row in decoded(noise).collect())


def test_a_poison_event_is_refused_unread_wherever_it_stands(decoded: Decoded) -> None:
    elsewhere = (1, 2)
    rows = decoded([payload(), payload(), payload()], poison=[(0, 1), elsewhere]).collect()
    assert [row.rejection for row in rows] == [None, "poison", None]
    assert [row.price is None for row in rows] == [False, True, False]


def test_edges_of_the_rules_are_accepted(decoded: Decoded) -> None:
    good = [
        {"event_time": datetime(2000, 1, 1, tzinfo=UTC)},
        {"event_time": NOON + timedelta(hours=1)},
        {"price": Decimal("0.00000001"), "quantity": Decimal("9999999999.99999999")},
        {"price": Decimal(10**9), "quantity": Decimal(10**6)},
        {"trade_id": 0},
        {"event_type": "CANCEL", "price": None, "quantity": None},
    ]
    rows = decoded([payload(**event) for event in good]).collect()
    assert [row.rejection for row in rows] == [None] * len(good)


def one(trades: DataFrame) -> Row:
    rows = trades.collect()
    assert len(rows) == 1
    return rows[0]


def test_the_first_report_counts_and_later_ones_are_duplicates(observed: Observed) -> None:
    trade = one(resolve(observed({"price": Decimal(5)}, {"price": Decimal(6)})))
    assert (trade.state, trade.price, trade.notional) == ("ACTIVE", 5, 10)
    assert (trade.trade_position, trade.last_offset) == (0, 1)


def test_the_last_correction_replaces_price_and_quantity(observed: Observed) -> None:
    trade = one(
        resolve(
            observed(
                {"event_type": "CORRECTION", "price": Decimal(7), "quantity": Decimal(1)},
                {"price": Decimal(5)},
                {"event_type": "CORRECTION", "price": Decimal(8), "quantity": Decimal(3)},
            )
        )
    )
    assert (trade.state, trade.price, trade.quantity, trade.notional) == ("CORRECTED", 8, 3, 24)
    assert (trade.reported_price, trade.correction_position) == (5, 2)


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_cancel_holds_before_and_after_its_trade(observed: Observed, cancel_first: bool) -> None:
    cancel = {"event_type": "CANCEL", "price": None, "quantity": None}
    events = [cancel, {}] if cancel_first else [{}, cancel]
    assert one(resolve(observed(*events))).state == "CANCELLED"


def test_corrections_and_cancels_wait_for_their_trade(observed: Observed) -> None:
    trade = one(resolve(observed({"event_type": "CORRECTION"})))
    assert (trade.state, trade.price, trade.notional) == ("UNMATCHED", None, None)


def test_the_same_id_on_two_venues_and_in_two_minutes_is_another_trade(observed: Observed) -> None:
    later = NOON + timedelta(minutes=1)
    trades = resolve(observed({}, {"venue": "binance_usdm"}, {"event_time": later}))
    assert trades.count() == 3


def test_resolving_again_in_any_split_and_order_changes_nothing(observed: Observed) -> None:
    log = observed(
        {"price": Decimal(5)},
        {"price": Decimal(6)},
        {"event_type": "CORRECTION", "price": Decimal(7)},
        {"event_type": "CANCEL", "price": None, "quantity": None, "trade_id": 2},
        {"trade_id": 2},
    )
    whole = sorted(resolve(log).collect())
    for cut in (1, 3):
        front, back = (
            resolve(log.where(part)).select(*OBSERVED_COLUMNS)
            for part in (f"last_offset < {cut}", f"last_offset >= {cut}")
        )
        assert sorted(resolve(back.union(front).union(back)).collect()) == whole


def units(value: Decimal, places: int) -> int:
    """Return a decimal as a whole number of its last place, whatever its length."""
    return int(value.scaleb(places, Context(prec=60)))


decimals = st.integers(1, 10**13).map(lambda number: Decimal(number).scaleb(-8))


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(decimals, decimals, decimals), min_size=100, max_size=100))
def test_contract_quantities_are_rounded_once_half_up(
    observed: Observed, cases: list[tuple[Decimal, Decimal, Decimal]]
) -> None:
    events = [
        {
            "trade_id": number,
            "price": price,
            "quantity": quantity,
            "quantity_unit": "CONTRACT",
            "contract_size": size,
        }
        for number, (price, quantity, size) in enumerate(cases)
    ]
    trades = {row.trade_id: row for row in resolve(observed(*events)).collect()}
    for number, (price, quantity, size) in enumerate(cases):
        worth, divisor = units(quantity, 8) * units(size, 8), units(price, 8)
        assert units(trades[number].notional, 16) == worth
        assert units(trades[number].quantity, 8) == (2 * worth + divisor) // (2 * divisor)


def test_the_types_are_those_of_the_tables(observed: Observed) -> None:
    types = dict(resolve(observed({})).dtypes)
    assert types["quantity"] == "decimal(38,8)"
    assert types["notional"] == "decimal(38,16)"
    assert types["price"] == "decimal(18,8)"

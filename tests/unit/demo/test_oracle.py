"""The oracle against bars that were worked out by hand."""

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from demo.oracle import (
    History,
    LoggedEvent,
    accepted,
    compare,
    in_order,
    naive_bars,
    naive_days,
    naive_hours,
    naive_trades,
    rejections,
)

MINUTE = datetime(2024, 8, 8, 23, 59, tzinfo=UTC)
SPOT = ("binance_spot", "BTCUSDT", MINUTE)


def event(kind: str = "TRADE", trade_id: int = 1, second: float = 0, **changes: Any) -> dict:
    return {
        "event_type": kind,
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "trade_id": trade_id,
        "event_time": MINUTE + timedelta(seconds=second),
        "price": Decimal("100"),
        "quantity": Decimal("2"),
        "quantity_unit": "BASE",
        "contract_size": None,
        "aggressor_side": "BUY",
        "received_at": None,
    } | {
        name: Decimal(v) if isinstance(v, str) and v[:1].isdigit() else v
        for name, v in changes.items()
    }


def cancel(trade_id: int = 1) -> dict:
    return event("CANCEL", trade_id, price=None, quantity=None)


def contracts(price: str, count: str, **changes: Any) -> dict:
    return event(
        price=price,
        quantity=count,
        quantity_unit="CONTRACT",
        contract_size="100",
        symbol="BTCUSD_PERP",
        **changes,
    )


def bar(events: list[dict], **options: Any):
    (only,) = naive_bars(in_order(events, start=10), **options).values()
    return only


def test_a_bar_of_three_trades():
    found = bar(
        [
            event(trade_id=3, second=30, price="90", quantity="1"),
            event(trade_id=1, second=10, price="100", quantity="2"),
            event(trade_id=2, second=20, price="110", quantity="0.5"),
        ]
    )

    assert (found.open, found.high, found.low, found.close) == (100, 110, 90, 90)
    assert found.volume == Decimal("3.5")
    assert found.notional == 345  # 200 + 55 + 90
    assert found.vwap == Decimal("98.57142857")  # 345 / 3.5 = 98.571428571…
    assert found.trade_count == 3
    assert found.first_trade_at == MINUTE + timedelta(seconds=10)
    assert found.last_trade_at == MINUTE + timedelta(seconds=30)
    assert found.last_offset == 12


def test_at_one_time_the_trade_id_orders():
    found = bar(
        [event(trade_id=10, price="3"), event(trade_id=9, price="2"), event(trade_id=11, price="1")]
    )
    assert (found.open, found.close) == (2, 1)


def test_a_duplicate_counts_once_but_moves_the_offset():
    found = bar([event(price="100"), event(price="777")])
    assert (found.open, found.trade_count, found.last_offset) == (100, 1, 11)


def test_positions_order_the_log_not_the_order_of_the_list():
    late_first = [LoggedEvent(0, 8, event(price="777")), LoggedEvent(0, 7, event(price="100"))]
    assert naive_bars(late_first)[SPOT].open == 100


@pytest.mark.parametrize("before", [True, False])
def test_the_newest_correction_replaces_price_and_quantity(before: bool):
    corrections = [
        event("CORRECTION", price="101", quantity="7"),
        event("CORRECTION", price="102", quantity="3"),
    ]
    events = [*corrections, event()] if before else [event(), *corrections]
    found = bar(events)
    assert (found.open, found.volume, found.notional, found.last_offset) == (102, 3, 306, 12)


@pytest.mark.parametrize(
    "events",
    [
        [event(), cancel()],
        [cancel(), event()],
        [event(), cancel(), event("CORRECTION", price="5", quantity="5"), event()],
    ],
)
def test_a_cancel_is_for_good_and_leaves_a_tombstone(events: list[dict]):
    assert naive_bars(in_order(events)) == {}
    tombstone = bar(events, include_tombstones=True)
    assert (tombstone.trade_count, tombstone.volume, tombstone.notional) == (0, 0, 0)
    assert (tombstone.open, tombstone.vwap, tombstone.first_trade_at) == (None, None, None)
    assert tombstone.last_offset == 10 + len(events) - 1


def test_a_cancelled_trade_leaves_the_others():
    found = bar([event(), event(trade_id=2, price="50", quantity="1"), cancel(1)])
    assert (found.open, found.trade_count, found.last_offset) == (50, 1, 12)


def test_a_correction_of_a_trade_never_seen_counts_nothing_until_it_comes():
    unmatched = [event("CORRECTION", price="5", quantity="5")]
    assert naive_bars(in_order(unmatched)) == {}
    (trade,) = naive_trades(in_order(unmatched), include_tombstones=True).values()
    assert (trade.state, trade.price, trade.corrected_price) == ("UNMATCHED", None, 5)
    assert bar([*unmatched, event()]).open == 5


def test_contracts_become_coins_rounded_half_up():
    # 3 contracts of 100 USD: 300 / 61804.8 = 0.00485399192…
    found = bar([contracts("61804.8", "3")])
    assert (found.volume, found.notional) == (Decimal("0.00485399"), 300)
    assert found.vwap == Decimal("61804.82448460")  # 300 / 0.00485399 = 61804.8244846…
    # 100 / 80000000000 = 0.00000000125 rounds down; 100 / 20000000000 = 0.000000005 rounds up.
    assert bar([contracts("80000000000", "1")]).volume == 0
    assert bar([contracts("80000000000", "1")]).vwap is None
    assert bar([contracts("20000000000", "1")]).volume == Decimal("0.00000001")


def test_a_correction_of_contracts_counts_contracts():
    fix = contracts("50000", "2") | {"event_type": "CORRECTION"}
    found = bar([contracts("61804.8", "3"), fix])
    assert (found.volume, found.notional, found.open) == (Decimal("0.004"), 200, 50000)


def test_long_numbers_keep_every_digit():
    found = bar([event(price="9999999999.99999999", quantity="9999999999.99999999")])
    assert str(found.notional) == "99999999999999999800.0000000000000001"


def test_one_id_on_two_venues_and_in_two_minutes_is_four_trades():
    events = [
        event(venue=venue, second=second)
        for venue in ("binance_spot", "binance_usdm")
        for second in (59.999999, 60)
    ]
    assert len(naive_trades(in_order(events))) == 4
    assert [key[2].minute for key in sorted(naive_bars(in_order(events)))] == [59, 0, 59, 0]


def test_a_bar_as_of_each_position_of_the_log():
    history = History(in_order([event(), cancel(2), event(trade_id=2, price="50"), cancel(1)]))
    (window,) = history.windows
    as_of = [history.bar(window, as_of=position) for position in range(-1, 4)]

    assert as_of[0] is None
    assert [b and (b.trade_count, b.last_offset) for b in as_of[1:]] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (0, 3),
    ]
    assert history.bar(window) == as_of[-1]


def test_hours_and_days_are_utc_and_leave_hidden_minutes_out():
    events = in_order(
        [
            event(second=0, price="100", quantity="1"),
            event(trade_id=2, second=60, price="200", quantity="1"),  # 00:00 of the next day
            event(trade_id=3, second=-60, price="50", quantity="1"),
            event("CANCEL", 3, second=-60, price=None, quantity=None),
        ]
    )
    hours, days = naive_hours(events), naive_days(events)

    assert {key[2]: (h.open, h.last_offset) for key, h in hours.items()} == {
        datetime(2024, 8, 8, 23, tzinfo=UTC): (100, 0),
        datetime(2024, 8, 9, 0, tzinfo=UTC): (200, 1),
    }
    assert {key[2]: (d.close, d.trade_count) for key, d in days.items()} == {
        date(2024, 8, 8): (100, 1),
        date(2024, 8, 9): (200, 1),
    }
    shown = naive_hours(events, include_tombstones=True)
    assert shown["binance_spot", "BTCUSDT", datetime(2024, 8, 8, 23, tzinfo=UTC)].last_offset == 3


NOW = MINUTE + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event("BUST"), "unknown_event_type"),
        (event(venue="Binance"), "invalid_venue"),
        (event(venue="binance\n"), "invalid_venue"),
        (event(venue="v" * 33), "invalid_venue"),
        (event(symbol="btcusdt"), "invalid_symbol"),
        (event(symbol=""), "invalid_symbol"),
        (event(price=None), "missing_price"),
        (event(price="0"), "non_positive_price"),
        (event("CORRECTION", price=Decimal(-1)), "non_positive_price"),
        (event(quantity=None), "missing_quantity"),
        (event(quantity="0.0"), "non_positive_quantity"),
        (event(quantity_unit="LOT"), "unknown_quantity_unit"),
        (event(quantity_unit="CONTRACT"), "missing_contract_size"),
        (event(event_time=datetime(1999, 12, 31, 23, 59, tzinfo=UTC)), "event_time_too_old"),
        (event(event_time=NOW + timedelta(hours=1, microseconds=1)), "event_time_in_future"),
        (event(trade_id=-1), "invalid_trade_id"),
    ],
)
def test_what_is_refused_and_why(bad: dict, reason: str):
    assert accepted(bad, NOW) == reason


@pytest.mark.parametrize(
    "good",
    [
        event(),
        cancel(),
        event("CORRECTION"),
        event(trade_id=0),
        contracts("1", "1"),
        event(event_time=datetime(2000, 1, 1, tzinfo=UTC)),
        event(event_time=NOW + timedelta(hours=1)),
        cancel() | {"quantity_unit": "ANY"},
    ],
)
def test_what_is_accepted(good: dict):
    assert accepted(good, NOW) is None


def test_every_reason_is_told_in_the_order_of_the_rules():
    bad = event(symbol="?", price=None, quantity="0", trade_id=-1)
    assert rejections(bad, NOW) == (
        "invalid_symbol",
        "missing_price",
        "non_positive_quantity",
        "invalid_trade_id",
    )


def rows() -> tuple[dict, list[dict]]:
    events = [event(), event(trade_id=2, second=60), event(trade_id=3, second=120)]
    expected = naive_bars(in_order(events))
    return expected, [asdict(found) for found in expected.values()]


def test_equal_results_are_equal_in_any_order_scale_zone_and_spelling():
    expected, actual = rows()
    actual.reverse()
    actual[0] |= {"volume": Decimal("2.00000000"), "status": "PROVISIONAL"}
    actual[1] |= {"volume": "2.00000000", "window_start": actual[1]["window_start"].isoformat()}
    verdict = compare(expected, actual)
    assert verdict.equal
    assert str(verdict) == "EQUAL: 3 rows, 45 values, to the last digit"


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"volume": Decimal("2.00000000000000000000000000000001")}, "volume"),
        ({"volume": 2.0}, "volume"),
        ({"volume": "two"}, "volume"),
        ({"vwap": None}, "vwap"),
        ({"last_offset": 99}, "last_offset"),
        ({"first_trade_at": MINUTE + timedelta(microseconds=1)}, "first_trade_at"),
    ],
)
def test_one_value_that_differs_is_found_and_named(change: dict, column: str):
    expected, actual = rows()
    wanted = asdict(expected[SPOT])[column]
    actual[0] |= change
    (difference,) = compare(expected, actual).differences
    assert difference == (tuple(SPOT), column, wanted, change[column])
    assert str(difference).startswith(
        f"binance_spot BTCUSDT 2024-08-08T23:59:00+00:00: {column} should be "
    )
    assert compare(expected, actual, ignore=[column]).equal


def test_rows_lost_invented_and_doubled_are_differences():
    expected, actual = rows()
    stranger = actual[0] | {"symbol": "ETHUSDT"}
    verdict = compare(expected, [actual[0], actual[0], actual[1], stranger])
    assert [(d.key[1], d.expected, d.actual) for d in verdict.differences] == [
        ("BTCUSDT", "nothing", "a second row"),
        ("BTCUSDT", "a row", "nothing"),
        ("ETHUSDT", "nothing", "a row"),
    ]
    assert not verdict.equal


def test_a_missing_column_is_a_difference():
    expected, actual = rows()
    del actual[0]["notional"]
    assert [d.column for d in compare(expected, actual).differences] == ["notional"]

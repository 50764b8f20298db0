"""The judge says EQUAL only when everything is."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from trade_log import NOON, payload

from demo.judge import QUESTIONS, judge_as_stated
from demo.oracle import History, WindowKey, in_order
from demo.topic import LogMessage, LogMismatchError, by_name, logged

TRADE = {
    "event_type": "TRADE",
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "quantity": Decimal("2"),
    "quantity_unit": "BASE",
    "contract_size": None,
    "aggressor_side": "BUY",
    "received_at": None,
}
RECORDED = [
    TRADE | {"trade_id": n, "event_time": NOON + timedelta(seconds=n), "price": Decimal(100 + n)}
    for n in range(5)
]
WINDOW = WindowKey("binance_spot", "BTCUSDT", NOON)


def messages(numbers: list[int]) -> Iterator[LogMessage]:
    for offset, number in enumerate(numbers):
        named = {"trade_id": number, "event_time": NOON + timedelta(seconds=number)}
        yield LogMessage(3, offset, datetime.now(UTC), payload(**named))


def bar(as_of: int) -> dict[str, Any]:
    found = History(in_order(RECORDED)).bar(WINDOW, as_of=as_of)
    assert found is not None
    return asdict(found)


def test_a_recorded_trade_gets_the_position_of_its_message() -> None:
    found = list(logged(messages([2, 0, 1]), by_name(RECORDED)))
    assert [(event.partition, event.position) for event in found] == [(3, 0), (3, 1), (3, 2)]
    assert [event.event for event in found] == [RECORDED[2], RECORDED[0], RECORDED[1]]


def test_what_the_trade_was_is_the_recordings_word() -> None:
    """A producer that garbled the price would be found out."""
    garbled = LogMessage(
        0, 0, datetime.now(UTC), payload(trade_id=0, event_time=NOON, price=Decimal(7))
    )
    (found,) = logged([garbled], by_name(RECORDED))
    assert found.event["price"] == Decimal(100)


def test_a_message_that_was_never_recorded_is_an_error() -> None:
    with pytest.raises(LogMismatchError, match=r"partition 3, offset 1 .*99"):
        list(logged(messages([0, 99]), by_name(RECORDED)))


@pytest.mark.parametrize("as_of", range(5))
def test_a_row_is_judged_as_of_the_position_that_it_states(as_of: int) -> None:
    verdict = judge_as_stated(in_order(RECORDED), [bar(as_of)])
    assert verdict.equal
    assert verdict.rows == 1


def test_a_row_that_claims_to_have_seen_more_is_found_out() -> None:
    verdict = judge_as_stated(in_order(RECORDED), [bar(2) | {"last_offset": 4}])
    assert {difference.column for difference in verdict.differences} >= {"close", "trade_count"}


def test_a_row_of_a_window_that_nothing_is_known_of_is_found_out() -> None:
    strange = bar(4) | {"symbol": "XRPUSDT"}
    assert not judge_as_stated(in_order(RECORDED), [strange]).equal


def test_every_merged_view_of_trades_is_judged() -> None:
    from serving.views import view_names

    # The demo has no clients and no quotes: tests/integration/loop judges theirs.
    of_others = {"serving.fills", "serving.positions", "serving.quotes", "serving.spreads_1m"}
    assert set(QUESTIONS) == set(view_names()) - of_others

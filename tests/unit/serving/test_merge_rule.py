"""The merge rule on real Iceberg tables, case by case."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from serving.engine import SqlEngine

BATCH, SPEED = "gold.bars_1m", "gold.bars_1m_rt"


@pytest.fixture
def merged(engine: SqlEngine) -> Callable[[], list[tuple[int, str]]]:
    """Return (last_offset, status) of every merged bar, by time."""

    def merged() -> list[tuple[int, str]]:
        rows = engine.query(
            "SELECT last_offset, status, open FROM serving.bars_1m ORDER BY window_start, open"
        ).to_pylist()
        assert all(row["open"] == 100 + row["last_offset"] % 10**6 for row in rows), "a mixed row"
        return [(row["last_offset"], row["status"]) for row in rows]

    return merged


def test_a_tie_goes_to_batch(append: Any, bar: Any, merged: Any) -> None:
    append(BATCH, [bar(last_offset=7)])
    append(SPEED, [bar(last_offset=7)])
    assert merged() == [(7, "RECONCILED")]


def test_a_newer_speed_row_wins(append: Any, bar: Any, merged: Any) -> None:
    append(BATCH, [bar(last_offset=7)])
    append(SPEED, [bar(last_offset=8)])
    assert merged() == [(8, "PROVISIONAL")]


def test_an_older_speed_row_loses(append: Any, bar: Any, merged: Any) -> None:
    append(BATCH, [bar(last_offset=7)])
    append(SPEED, [bar(last_offset=6)])
    assert merged() == [(7, "RECONCILED")]


def test_the_greatest_of_many_speed_versions_counts_once(
    append: Any, bar: Any, merged: Any
) -> None:
    for last_offset in (5, 9, 9, 7):
        append(SPEED, [bar(last_offset=last_offset)])
    assert merged() == [(9, "PROVISIONAL")]
    append(BATCH, [bar(last_offset=8)])
    assert merged() == [(9, "PROVISIONAL")]
    append(BATCH, [bar(1, last_offset=3)])
    assert merged() == [(9, "PROVISIONAL"), (3, "RECONCILED")]


def test_a_version_that_was_written_twice_counts_once(append: Any, bar: Any, merged: Any) -> None:
    append(SPEED, [bar(last_offset=9), bar(last_offset=9)])
    append(SPEED, [bar(last_offset=9)])
    assert merged() == [(9, "PROVISIONAL")]


def test_keys_of_one_layer_only_are_all_there(append: Any, bar: Any, merged: Any) -> None:
    append(BATCH, [bar(0, last_offset=1)])
    append(SPEED, [bar(1, last_offset=2)])
    assert merged() == [(1, "RECONCILED"), (2, "PROVISIONAL")]


@pytest.mark.parametrize("column", ["venue", "symbol"])
def test_the_same_minute_of_another_instrument_is_another_key(
    append: Any, bar: Any, merged: Any, column: str
) -> None:
    append(BATCH, [bar(last_offset=1)])
    append(SPEED, [bar(last_offset=9, **{column: "another"})])
    assert merged() == [(1, "RECONCILED"), (9, "PROVISIONAL")]


def test_a_newer_speed_tombstone_hides_the_batch_row(
    append: Any, bar: Any, tombstone: Any, merged: Any
) -> None:
    append(BATCH, [bar(last_offset=7)])
    append(SPEED, [bar(last_offset=7), tombstone(last_offset=8)])
    assert merged() == []


def test_a_batch_tombstone_hides_older_and_equal_speed_rows(
    append: Any, bar: Any, tombstone: Any, merged: Any
) -> None:
    append(BATCH, [tombstone(last_offset=8)])
    append(SPEED, [bar(last_offset=7), tombstone(last_offset=8)])
    assert merged() == []


def test_a_trade_after_a_tombstone_brings_the_bar_back(
    append: Any, bar: Any, tombstone: Any, merged: Any
) -> None:
    append(BATCH, [tombstone(last_offset=8)])
    append(SPEED, [tombstone(last_offset=8), bar(last_offset=9)])
    assert merged() == [(9, "PROVISIONAL")]
    append(SPEED, [tombstone(last_offset=10)])
    assert merged() == []


def test_positions_of_a_later_generation_win(append: Any, bar: Any, merged: Any) -> None:
    # The position of offset 0 in generation 1: greater than any offset of generation 0.
    later = 10**15
    append(BATCH, [bar(last_offset=999_999)])
    append(SPEED, [bar(last_offset=later)])
    assert merged() == [(later, "PROVISIONAL")]


def test_cancelled_and_unmatched_trades_are_hidden_after_the_merge(
    append: Any, trade: Any, engine: SqlEngine
) -> None:
    append("silver.trades", [trade(1, last_offset=1), trade(2, last_offset=2)])
    append("silver.trades", [trade(3, last_offset=5, state="CANCELLED", cancel_position=5)])
    append(
        "silver.trades_rt",
        [
            trade(1, last_offset=9, state="CANCELLED", cancel_position=9),
            trade(2, last_offset=8, state="CORRECTED", correction_position=8),
            trade(3, last_offset=3),
            trade(4, last_offset=4, state="UNMATCHED", price=None),
        ],
    )
    rows = engine.query("SELECT trade_id, last_offset, state, status FROM serving.trades")
    assert rows.to_pylist() == [
        {"trade_id": 2, "last_offset": 8, "state": "CORRECTED", "status": "PROVISIONAL"}
    ]


def test_a_trade_id_used_again_in_another_minute_is_another_trade(
    append: Any, trade: Any, bar: Any, engine: SqlEngine
) -> None:
    first = trade(last_offset=1)["event_time"]
    append("silver.trades", [trade(last_offset=1)])
    append("silver.trades_rt", [trade(last_offset=9, event_time=first + timedelta(minutes=1))])
    rows = engine.query("SELECT last_offset FROM serving.trades ORDER BY 1").to_pylist()
    assert [row["last_offset"] for row in rows] == [1, 9]


def test_a_trade_whose_time_moved_within_its_minute_is_one_trade(
    append: Any, trade: Any, engine: SqlEngine
) -> None:
    first = trade(last_offset=1)["event_time"]
    late = first + timedelta(seconds=59, microseconds=999_999)
    append("silver.trades", [trade(last_offset=1, event_time=late)])
    append("silver.trades_rt", [trade(last_offset=2, event_time=first)])
    rows = engine.query("SELECT last_offset FROM serving.trades").to_pylist()
    assert [row["last_offset"] for row in rows] == [2]
    append("silver.trades", [trade(2, last_offset=3, event_time=first)])
    append("silver.trades_rt", [trade(2, last_offset=3, event_time=late)])
    rows = engine.query("SELECT last_offset, status FROM serving.trades ORDER BY 1").to_pylist()
    assert [tuple(row.values()) for row in rows] == [(2, "PROVISIONAL"), (3, "RECONCILED")]

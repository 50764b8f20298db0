"""The merged positions and fills on real Iceberg tables, and their mark to the merged market."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

import schemas
from serving.engine import SqlEngine
from serving.views import view_sql

BATCH, SPEED = "gold.positions", "gold.positions_rt"
NOON = datetime(2024, 8, 8, 12, 0, tzinfo=UTC)


@pytest.fixture
def position() -> Callable[..., dict[str, Any]]:
    """Make a long position of two at 90; ``last_offset`` tells versions apart."""

    def position(*, last_offset: int, **changes: Any) -> dict[str, Any]:
        zero = dict.fromkeys(("realised_pnl", "fees", "sold_quantity", "sold_notional"), Decimal(0))
        row = dict.fromkeys(schemas.contract(BATCH).column_names) | {
            "customer_id": "C-1",
            "venue": "binance_spot",
            "symbol": "BTCUSDT",
            "quantity": Decimal(2),
            "average_cost": Decimal(90),
            "cost_basis": Decimal(180),
            "bought_quantity": Decimal(2),
            "bought_notional": Decimal(180),
            "fill_count": 1,
            "log_partition": 0,
            "last_offset": last_offset,
        }
        return row | zero | changes

    return position


@pytest.fixture
def marked(engine: SqlEngine) -> Callable[[], list[tuple[Any, ...]]]:
    def marked() -> list[tuple[Any, ...]]:
        rows = engine.query(
            "SELECT customer_id, last_offset, status, mark_price, market_value, unrealised_pnl"
            " FROM serving.positions ORDER BY customer_id"
        ).to_pylist()
        return [tuple(row.values()) for row in rows]

    return marked


def test_a_position_is_marked_to_the_latest_merged_bar(
    append: Any, bar: Any, position: Any, marked: Any
) -> None:
    append(BATCH, [position(last_offset=4)])
    append("gold.bars_1m", [bar(0, last_offset=1), bar(1, last_offset=5)])
    assert marked() == [("C-1", 4, "RECONCILED", 105, 210, 30)]
    append("gold.bars_1m_rt", [bar(1, last_offset=9), bar(0, last_offset=8)])
    assert marked() == [("C-1", 4, "RECONCILED", 109, 218, 38)]
    append(SPEED, [position(last_offset=6, quantity=Decimal(-1), cost_basis=Decimal(-90))])
    assert marked() == [("C-1", 6, "PROVISIONAL", 109, -109, -19)]


def test_a_cancelled_minute_marks_nothing(
    append: Any, bar: Any, tombstone: Any, position: Any, marked: Any
) -> None:
    append(BATCH, [position(last_offset=4)])
    append("gold.bars_1m", [bar(0, last_offset=1), bar(1, last_offset=5)])
    append("gold.bars_1m_rt", [tombstone(1, last_offset=7)])
    assert marked() == [("C-1", 4, "RECONCILED", 101, 202, 22)]


def test_a_position_without_a_market_is_there_without_a_mark(
    append: Any, bar: Any, position: Any, marked: Any
) -> None:
    append("gold.bars_1m", [bar(last_offset=1, symbol="ETHUSDT"), bar(last_offset=1, venue="v")])
    append(SPEED, [position(last_offset=3)])
    assert marked() == [("C-1", 3, "PROVISIONAL", None, None, None)]


def test_each_customer_and_instrument_is_a_position_of_its_own(
    append: Any, bar: Any, position: Any, marked: Any
) -> None:
    append("gold.bars_1m", [bar(last_offset=1), bar(last_offset=2, symbol="ETHUSDT")])
    rows = [
        position(last_offset=3),
        position(last_offset=3, customer_id="C-2"),
        position(last_offset=3, customer_id="C-3", symbol="ETHUSDT"),
    ]
    append(BATCH, rows)
    assert [row[3] for row in marked()] == [101, 101, 102]


def test_a_newer_tombstone_hides_an_older_position(append: Any, position: Any, marked: Any) -> None:
    nothing = {"quantity": Decimal(0), "average_cost": None, "fill_count": 0}
    append(BATCH, [position(last_offset=4)])
    append(SPEED, [position(last_offset=5, **nothing)])
    assert marked() == []


def test_values_keep_every_digit(append: Any, bar: Any, position: Any, engine: SqlEngine) -> None:
    quantity, price = Decimal("1234567890123.45678901"), Decimal("59999.99999999")
    basis = Decimal("0.0000000000000001")
    append("gold.bars_1m", [bar(last_offset=1, close=price)])
    append(BATCH, [position(last_offset=4, quantity=quantity, cost_basis=basis)])
    found = engine.query("SELECT market_value, unrealised_pnl FROM serving.positions")
    assert found.schema.types == [pa.decimal128(38, 16)] * 2
    (row,) = found.to_pylist()
    with localcontext(prec=60):
        worth = quantity * price
        assert row == {"market_value": worth, "unrealised_pnl": worth - basis}


def test_a_value_that_no_column_holds_is_told_of_nobody_else(
    append: Any, bar: Any, position: Any, marked: Any
) -> None:
    """What is accepted of fills and of trades bounds neither times the other."""
    highest = Decimal(10**10) - Decimal("0.00000001")
    append("gold.bars_1m", [bar(last_offset=1, close=highest)])
    held = {"C-1": Decimal(100), "C-2": Decimal(10**12), "C-3": -Decimal(10**17)}
    append(
        BATCH,
        [
            position(last_offset=4, customer_id=customer, quantity=quantity)
            for customer, quantity in held.items()
        ],
    )
    with localcontext(prec=60):
        worth = 100 * highest
        assert marked() == [
            ("C-1", 4, "RECONCILED", highest, worth, worth - 180),
            ("C-2", 4, "RECONCILED", highest, None, None),
            ("C-3", 4, "RECONCILED", highest, None, None),
        ]


def test_fills_that_do_not_count_are_hidden_after_the_merge(append: Any, engine: SqlEngine) -> None:
    def fill(fill_id: int, state: str, last_offset: int) -> dict[str, Any]:
        return dict.fromkeys(schemas.contract("silver.fills").column_names) | {
            "customer_id": "C-1",
            "fill_id": fill_id,
            "order_id": 1,
            "venue": "v",
            "symbol": "S",
            # The time of a fill may move when its report comes after its bust.
            "event_time": NOON + timedelta(days=last_offset),
            "state": state,
            "log_partition": 0,
            "last_offset": last_offset,
        }

    append("silver.fills", [fill(n, "ACTIVE", 1) for n in (1, 2, 3)])
    append("silver.fills_rt", [fill(1, "BUSTED", 4), fill(2, "ACTIVE", 5), fill(4, "UNMATCHED", 6)])
    rows = engine.query("SELECT fill_id, status, last_offset FROM serving.fills ORDER BY 1")
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        (2, "PROVISIONAL", 5),
        (3, "RECONCILED", 1),
    ]


def test_trino_reads_the_merged_view_and_no_bars_of_one_layer() -> None:
    query = sqlglot.parse_one(view_sql("serving.positions", "trino"), read="trino")
    tables = {f"{table.db}.{table.name}" for table in query.find_all(exp.Table)}
    assert tables == {"gold.positions", "gold.positions_rt", "serving.bars_1m"}

"""A lake with tables of both layers, filled by PyIceberg; and rows that differ in what matters."""

import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables
from serving.engine import SqlEngine

if TYPE_CHECKING:
    from view_bench import Bench

# The tests of this folder import what lies beside them.
sys.path.insert(0, str(Path(__file__).parent))

Row = dict[str, Any]
NOON = datetime(2024, 8, 8, 12, 0, tzinfo=UTC)
TABLES = (
    "gold.bars_1m",
    "gold.bars_1m_rt",
    "gold.spreads_1m",
    "gold.spreads_1m_rt",
    "silver.quotes",
    "silver.quotes_rt",
    "gold.positions",
    "gold.positions_rt",
    "silver.fills",
    "silver.fills_rt",
    "silver.customers",
    "silver.trades",
    "silver.trades_rt",
    "silver.instruments",
)


@pytest.fixture(scope="module")
def bench() -> "Bench":
    from view_bench import Bench

    return Bench()


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(name) for name in TABLES])
    return catalog


@pytest.fixture
def engine(catalog: Catalog) -> SqlEngine:
    return SqlEngine(catalog)


@pytest.fixture
def append(catalog: Catalog) -> Callable[[str, Iterable[Row]], None]:
    """Append rows to a table: one commit, one file for each partition."""

    def append(table: str, rows: Iterable[Row]) -> None:
        schema = schemas.contract(table).arrow_schema()
        catalog.load_table(table).append(pa.Table.from_pylist(list(rows), schema=schema))

    return append


@pytest.fixture
def bar() -> Callable[..., Row]:
    """Make a bar; its prices follow from ``last_offset``, so that versions can be told apart."""

    def bar(minute: int = 0, *, last_offset: int, **changes: Any) -> Row:
        start = NOON + timedelta(minutes=minute)
        price = Decimal(100 + last_offset % 10**6)
        row = {
            "venue": "binance_spot",
            "symbol": "BTCUSDT",
            "window_start": start,
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": Decimal(2),
            "notional": 2 * price,
            "vwap": price,
            "trade_count": 1,
            "first_trade_at": start + timedelta(seconds=1),
            "last_trade_at": start + timedelta(seconds=2),
            "log_partition": 0,
            "last_offset": last_offset,
        }
        return row | changes

    return bar


@pytest.fixture
def tombstone(bar: Callable[..., Row]) -> Callable[..., Row]:
    """Make the bar of a minute whose trades were all cancelled."""
    nothing = ("open", "high", "low", "close", "vwap", "first_trade_at", "last_trade_at")

    def tombstone(minute: int = 0, *, last_offset: int) -> Row:
        zero = {"volume": Decimal(0), "notional": Decimal(0), "trade_count": 0}
        return bar(minute, last_offset=last_offset, **dict.fromkeys(nothing), **zero)

    return tombstone


@pytest.fixture
def trade() -> Callable[..., Row]:
    def trade(trade_id: int = 1, *, last_offset: int, **changes: Any) -> Row:
        row = dict.fromkeys(schemas.contract("silver.trades").column_names) | {
            "venue": "binance_spot",
            "symbol": "BTCUSDT",
            "trade_id": trade_id,
            "event_time": NOON,
            "state": "ACTIVE",
            "price": Decimal(100 + last_offset),
            "quantity": Decimal(1),
            "notional": Decimal(100 + last_offset),
            "trade_position": last_offset,
            "log_partition": 0,
            "last_offset": last_offset,
        }
        return row | changes

    return trade

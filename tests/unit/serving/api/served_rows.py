"""A lake that has rows of everything that is served, and rows of any table out of few values."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestamptzType,
)

import schemas
from schemas import tables
from serving.output import as_text

Row = dict[str, Any]
NOON = datetime(2024, 8, 8, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TABLES = (
    "gold.bars_1m",
    "gold.bars_1m_rt",
    "gold.spreads_1m",
    "gold.spreads_1m_rt",
    "gold.positions",
    "gold.positions_rt",
    "silver.trades",
    "silver.trades_rt",
    "silver.instruments",
    "gold.features_1m",
    "gold.predictions",
    "ops.reconciliations",
    "bronze.dead_letters",
)
_VALUES: Mapping[type[IcebergType], Any] = {
    BooleanType: True,
    DateType: date(2024, 8, 1),
    DecimalType: Decimal("1.5"),
    DoubleType: 0.5,
    IntegerType: 0,
    LongType: 1,
    StringType: "some",
    TimestamptzType: NOON,
}
_NAMED = {"venue": "binance_spot", "symbol": "BTCUSDT", "customer_id": "C-1", "state": "ACTIVE"}


def row_of(table: str, **given: Any) -> Row:
    """A row of a table: what is given, and some value in every other column that needs one."""
    columns = schemas.contract(table).columns
    filled = {
        column.name: _NAMED.get(column.name, _VALUES[type(column.type)])
        for column in columns
        if column.required
    }
    return dict.fromkeys(column.name for column in columns) | filled | given


def bar_of(minute: int, last_offset: int, symbol: str = "BTCUSDT") -> Row:
    price = Decimal(100 + last_offset)
    return row_of(
        "gold.bars_1m",
        symbol=symbol,
        window_start=NOON + minute * MINUTE,
        **dict.fromkeys(("open", "high", "low", "close", "vwap"), price),
        volume=Decimal(2),
        notional=2 * price,
        last_offset=last_offset,
    )


def as_told(row: Row) -> Row:
    """A row as the live tier tells it: numbers with digits and times as text."""
    return json.loads(json.dumps(row, default=as_text))  # type: ignore[no-any-return]


class Lake:
    """Tables of a catalog that tests write to as the layers would."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        tables.apply(catalog, [schemas.contract(name) for name in TABLES])

    def append(self, table: str, rows: Iterable[Row]) -> None:
        schema = schemas.contract(table).arrow_schema()
        self.catalog.load_table(table).append(pa.Table.from_pylist(list(rows), schema=schema))


def fill(lake: Lake) -> None:
    """Eight bars of two instruments, of each the last one from speed; of all else a row or two."""
    symbols = ("BTCUSDT", "ETHUSDT")
    lake.append(
        "gold.bars_1m",
        [bar_of(m, 10 * place + m, s) for place, s in enumerate(symbols) for m in range(3)],
    )
    lake.append("gold.bars_1m_rt", [bar_of(3, 50 + place, s) for place, s in enumerate(symbols)])
    for table in (
        "silver.trades",
        "gold.spreads_1m",
        "gold.positions",
        "silver.instruments",
        "gold.predictions",
    ):
        lake.append(table, [row_of(table, symbol=symbol) for symbol in symbols])
    lake.append(
        "ops.reconciliations",
        [
            row_of("ops.reconciliations", run_id=f"run-{n}", recorded_at=NOON + n * MINUTE)
            for n in range(3)
        ],
    )
    lake.append(
        "bronze.dead_letters",
        [
            row_of("bronze.dead_letters", topic="market.trades", reason=reason, ingested_at=at)
            for reason, at in (
                ("unknown_schema_id", NOON),
                ("too_large", NOON),
                ("too_large", NOON + MINUTE),
            )
        ],
    )

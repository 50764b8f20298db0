"""Examples in the API's description: of a column's text by its name, of all else by its type."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

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

from serving.api.relations import OutColumn

TEXTS: Mapping[str, str] = {
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "customer_id": "C-00042",
    "status": "RECONCILED",
    "state": "ACTIVE",
    "aggressor_side": "BUY",
    "quantity_unit": "BASE",
    "base_currency": "BTC",
    "quote_currency": "USDT",
    "kind": "SPOT",
    "file_name": "instruments_2024-08-09.csv",
    "checksum": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "model": "next_minute_volatility",
    "run_id": "0f2b7f5e6c1d4f0d9a4f6f1b6a2c9e11",
    "table_name": "gold.bars_1m",
    "verdict": "AGREE",
    "offsets": '{"0": 4217}',
    "drift_sample": "[]",
    "topic": "market.trades",
    "stage": "lander",
    "reason": "bad_magic_byte",
}
_PRICE = Decimal("61699.2")
_OF_TYPE: Mapping[type[IcebergType], Any] = {
    BooleanType: True,
    IntegerType: 42,
    LongType: 42,
    DoubleType: 0.00042,
    TimestamptzType: "2024-08-09T00:00:00.000000Z",
    DateType: "2024-08-09",
}


def example_of(column: OutColumn) -> Any:
    """Return a value of a column as JSON has it; None of a text column that has none above."""
    match column.type:
        case DecimalType():
            return f"{_PRICE:.{column.type.scale}f}"
        case StringType():
            return TEXTS.get(column.name)
        case _:
            return _OF_TYPE[type(column.type)]

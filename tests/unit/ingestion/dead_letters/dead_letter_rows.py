"""Dead letters as the lander writes them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

NOON = datetime(2024, 8, 9, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def row(offset: int | None = 0, **fields: Any) -> dict[str, Any]:
    """A dead letter with harmless values where none are given."""
    return {
        "topic": "market.trades",
        "topic_generation": 0,
        "kafka_partition": 0,
        "kafka_offset": offset,
        "kafka_timestamp": NOON,
        "stage": "lander",
        "reason": "bad_magic_byte",
        "detail": "begins with 0x6a instead of 0x00",
        "source": None,
        "message_key": b"binance_spot:BTCUSDT",
        "headers": None,
        "payload": b"junk",
        "ingested_at": NOON,
    } | fields


def refuse(catalog: Catalog, *rows: Mapping[str, Any]) -> None:
    """Append dead letters in one commit."""
    table = catalog.load_table("bronze.dead_letters")
    table.append(pa.Table.from_pylist(list(rows), schema=table.schema().as_arrow()))

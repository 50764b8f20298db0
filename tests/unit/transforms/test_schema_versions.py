"""Events of several versions of a schema in one log: each is read by the version that wrote it."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from trade_log import DEFAULTS, NOON, RECORDS, SCHEMA_JSON

from lakehouse.transforms.bars import bars_1h, bars_1m, bars_1s, market_daily
from lakehouse.transforms.events import decode
from lakehouse.transforms.trades import OBSERVED_COLUMNS, observe, resolve, validate

CARRIED = ("orders", "rate", "fee")
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}


def field(name: str, avro_type: Any, *aliases: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", avro_type], "default": None, "aliases": list(aliases)}


# What each version states beside the fields of the first one, and what of these it does not.
ADDED = {
    1: [],
    2: [field("lots", "int"), field("rate", "float")],
    3: [field("fee", MONEY), field("rate", "double"), field("orders", "long", "lots")],
}
WITHOUT = {1: set(), 2: set(), 3: {"received_at"}}


def schema(version: int) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads(SCHEMA_JSON)
    kept = [one for one in stated["fields"] if one["name"] not in WITHOUT[version]]
    # Fields are matched by their names, wherever they stand.
    stated["fields"] = ADDED[version][:1] + kept + ADDED[version][1:]
    return stated


SCHEMAS = {version: json.dumps(schema(version)) for version in ADDED}


def payload(version: int, **fields: Any) -> bytes:
    body = io.BytesIO()
    writer = fastavro.parse_schema(schema(version))
    fastavro.schemaless_writer(body, writer, DEFAULTS | fields)
    return b"\x00" + version.to_bytes(4, "big") + body.getvalue()


@dataclass(frozen=True)
class Log:
    """Payloads at offsets 0, 1, … of one partition."""

    decoded: DataFrame

    @property
    def rows(self) -> list[Any]:
        rows: list[Any] = self.decoded.orderBy("kafka_offset").collect()
        return rows

    @property
    def observed(self) -> DataFrame:
        return observe(validate(self.decoded), CARRIED)


@pytest.fixture
def log(spark: SparkSession) -> Callable[..., Log]:
    def read(*payloads: bytes, reader: int = 3) -> Log:
        rows = [(0, 0, offset, NOON, value) for offset, value in enumerate(payloads)]
        known = {version: text for version, text in SCHEMAS.items() if version <= reader}
        return Log(
            decode(
                spark.createDataFrame(rows, RECORDS),
                writer_schemas=known,
                reader_schema=SCHEMAS[reader],
                max_payload_bytes=1_000_000,
            )
        )

    return read


def test_each_is_read_by_its_writers_schema(log: Callable[..., Log]) -> None:
    read = log(
        payload(1, trade_id=1),
        payload(2, trade_id=2, lots=7, rate=0.5),
        payload(3, trade_id=3, orders=2**40, rate=0.1, fee=Decimal("-0.00000001")),
        payload(2, trade_id=4, price=None),
        payload(2, trade_id=5, lots=-(2**31)),
    )
    assert [(r.trade_id, r.orders, r.rate, r.fee, r.rejection) for r in read.rows] == [
        (1, None, None, None, None),
        (2, 7, 0.5, None, None),
        (3, 2**40, 0.1, Decimal("-1E-8"), None),
        (4, None, None, None, None),
        (5, -(2**31), None, None, None),
    ]
    assert {r.symbol for r in read.rows} == {"BTCUSDT"}
    assert "received_at" not in read.decoded.columns


def test_who_does_not_know_a_version_refuses_its_events_alone(log: Callable[..., Log]) -> None:
    read = log(payload(1), payload(3, orders=1), payload(2, lots=1), reader=2)
    assert [row.rejection for row in read.rows] == [None, "unknown_schema_id", None]


def test_a_trade_carries_what_its_first_report_states(log: Callable[..., Log]) -> None:
    observed = log(
        payload(2, trade_id=1, lots=1),
        payload(3, trade_id=1, orders=2),
        payload(3, trade_id=1, orders=3, event_type="CORRECTION"),
        payload(1, trade_id=2),
        payload(3, trade_id=2, orders=4),
        payload(3, trade_id=3, orders=5, event_type="CORRECTION"),
    ).observed
    whole = resolve(observed, CARRIED)
    found = {row.trade_id: row for row in whole.collect()}
    assert {number: row.orders for number, row in found.items()} == {1: 1, 2: None, 3: None}
    # Resolved rows are observations: folded again with what is new, in any order, the same.
    later = F.col("last_offset") >= 3
    columns = (*OBSERVED_COLUMNS, *CARRIED)
    for part in (later, ~later):
        known = resolve(observed.where(part), CARRIED).select(*columns)
        again = resolve(known.union(observed).union(known), CARRIED)
        assert {row.trade_id: row for row in again.collect()} == found


def test_bars_add_up_what_the_trades_that_count_carry(log: Callable[..., Log]) -> None:
    sums = {"orders": "decimal(38,0)", "fee": "decimal(38,8)"}
    largest = 2**63 - 1
    trades = resolve(
        log(
            payload(3, trade_id=1, orders=largest, fee=Decimal("0.1")),
            payload(3, trade_id=2, orders=largest),
            payload(2, trade_id=3, lots=1),
            payload(3, trade_id=4, orders=100),
            payload(1, trade_id=4, event_type="CANCEL"),
            payload(1, trade_id=5, symbol="ETHUSDT"),
            payload(3, trade_id=6, symbol="SOLUSDT", orders=5),
            payload(1, trade_id=6, symbol="SOLUSDT", event_type="CANCEL"),
        ).observed,
        CARRIED,
    )
    minutes = bars_1m(bars_1s(trades, carried=sums), sums)
    for bars in (minutes, bars_1h(minutes, sums), market_daily(minutes, sums)):
        assert dict(bars.dtypes)["orders"] == "decimal(38,0)"
        assert {row.symbol: (row.orders, row.fee) for row in bars.collect()} == {
            "BTCUSDT": (2 * largest + 1, Decimal("0.1")),
            "ETHUSDT": (None, None),
            "SOLUSDT": (None, None),
        }

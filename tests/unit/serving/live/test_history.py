"""What is read of silver's tables for the live tier, on real tables."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from fill_log import DEFAULTS as DEFAULTS_OF_FILLS
from live_logs import CASES, silver_rows
from pyiceberg.catalog import Catalog
from trade_log import DEFAULTS, NOON

from demo.oracle import LoggedEvent
from serving.live import history
from serving.live.digits import MINUTE_US, micros
from serving.live.history import History
from serving.live.memory import Span

pytestmark = pytest.mark.serving

BARS = CASES["bars_1m"]
CLIENTS = CASES["positions"]
BTC, ETH = "binance_spot:BTCUSDT", "binance_spot:ETHUSDT"
NOON_US = micros(NOON)


def trade(number: int, minute: int, symbol: str = "BTCUSDT", price: int = 100) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    said = {"trade_id": number, "symbol": symbol, "event_time": at, "price": Decimal(price)}
    return DEFAULTS | said


def append(catalog: Catalog, name: str, *events: tuple[int, int, dict[str, Any]]) -> None:
    """Append what silver has of events, given with partition and position, in one commit."""
    table = catalog.load_table(name)
    rows = silver_rows(BARS, [LoggedEvent(*one) for one in events])
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))


def test_of_each_span_the_rows_of_both_tables(catalog: Catalog) -> None:
    append(catalog, "silver.trades", (0, 1, trade(1, 0)), (0, 2, trade(2, 1)))
    append(catalog, "silver.trades_rt", (0, 3, trade(3, 1)), (0, 4, trade(4, 9)))
    append(
        catalog, "silver.trades_rt", (1, 7, trade(5, 0, "ETHUSDT")), (1, 8, trade(6, 3, "ETHUSDT"))
    )
    spans = [
        Span(BTC, NOON_US + MINUTE_US, None),
        Span.of_minute(BTC, NOON_US),
        Span.of_minute(ETH, NOON_US),
        Span.of_minute("binance_usdm:BTCUSDT", NOON_US),
    ]
    found = History(catalog, BARS.stream, 0).rows(spans)
    ids = [sorted(row["trade_id"] for row in found[span]) for span in spans]
    assert ids == [[2, 3, 4], [1], [5], []]


def test_a_client_is_read_whole(catalog: Catalog) -> None:
    table = catalog.load_table("silver.fills_rt")
    events = [
        DEFAULTS_OF_FILLS | {"fill_id": n, "customer_id": f"C-{n % 2}", "event_time": NOON}
        for n in range(4)
    ]
    rows = silver_rows(CLIENTS, [LoggedEvent(0, n, event) for n, event in enumerate(events)])
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    span = Span("C-1", 0, None)
    found = History(catalog, CLIENTS.stream, 0).rows([span])
    assert sorted(row["fill_id"] for row in found[span]) == [1, 3]


def test_the_reach_is_the_newest_of_each_partition_and_never_goes_back(catalog: Catalog) -> None:
    silver = History(catalog, BARS.stream, 0)
    assert silver.reach() == {}
    append(catalog, "silver.trades_rt", (0, 3, trade(1, 0)), (1, 70, trade(2, 0, "ETHUSDT")))
    append(catalog, "silver.trades_rt", (0, 5, trade(3, 0)))
    assert silver.reach() == {0: 5, 1: 70}
    catalog.load_table("silver.trades_rt").delete("true")
    assert silver.reach() == {0: 5, 1: 70}


def test_a_partition_far_behind_the_others_is_known_by_its_newest_file(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "NEWEST_FILES", 2)
    for position in (1_000, 1_001, 1_002):
        append(catalog, "silver.trades_rt", (0, position, trade(position, 0)))
    append(catalog, "silver.trades_rt", (1, 7, trade(1, 0, "ETHUSDT")))
    assert History(catalog, BARS.stream, 0).reach() == {0: 1_002, 1: 7}


def test_another_generation_of_the_topic_says_nothing_of_this_one(catalog: Catalog) -> None:
    append(catalog, "silver.trades_rt", (0, 3, trade(1, 0)))
    assert History(catalog, BARS.stream, 10**15).reach() == {}

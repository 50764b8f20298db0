"""The embedded engine on a real catalog: names, snapshots, refusals, and what is read."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.types import StringType

import schemas
from schemas import tables
from serving.database import Database, MissingExtensionError
from serving.engine import QueryError, SqlEngine, UnknownTableError
from serving.statements import InvalidSqlError

BATCH, SPEED = "gold.bars_1m", "gold.bars_1m_rt"
NOON = datetime(2024, 8, 8, 12, 0, tzinfo=UTC)


@pytest.fixture
def files_read(engine: SqlEngine) -> Callable[[str], list[tuple[str, int]]]:
    """Return for each scan of a table in a query's plan the table and how many files it read."""

    def scans(node: dict[str, Any]) -> Iterator[tuple[str, int]]:
        info = node.get("extra_info", {})
        if "Total Files Read" in info:
            # The plan names files only; a scan that read none does not say of which table.
            table = str(info.get("Filename(s)", "")).rpartition("/data/")[0].rpartition("/")[2]
            yield table, int(info["Total Files Read"])
        for child in node.get("children", []):
            yield from scans(child)

    def files_read(sql: str) -> list[tuple[str, int]]:
        plan = engine.query(f"EXPLAIN (ANALYZE, FORMAT json) {sql}").to_pylist()[0]
        return sorted(scans(json.loads(plan["explain_value"])))

    return files_read


@pytest.mark.parametrize("name", ["gold.bars_1m", "lake.gold.bars_1m", '"GOLD".Bars_1M'])
def test_tables_have_their_names(append: Any, bar: Any, engine: SqlEngine, name: str) -> None:
    append(BATCH, [bar(last_offset=1)])
    assert engine.query(f"SELECT last_offset FROM {name}").to_pylist() == [{"last_offset": 1}]


def test_tables_without_a_snapshot_have_their_columns(engine: SqlEngine, catalog: Catalog) -> None:
    tables.apply(catalog)
    for name, contract in schemas.contracts().items():
        rows = engine.query(f"FROM {name}")
        assert rows.num_rows == 0
        assert rows.column_names == list(contract.column_names)
    for view in ("bars_1m", "bars_1h", "market_daily", "trades"):
        assert engine.query(f"FROM serving.{view}").num_rows == 0


def test_one_layer_alone_is_merged_too(append: Any, bar: Any, engine: SqlEngine) -> None:
    append(SPEED, [bar(last_offset=1)])
    rows = engine.query("SELECT status FROM serving.bars_1m").to_pylist()
    assert rows == [{"status": "PROVISIONAL"}]


def test_empty_tables_have_the_types_of_full_ones(append: Any, bar: Any, engine: SqlEngine) -> None:
    empty = engine.query("FROM serving.bars_1h").schema
    append(BATCH, [bar(last_offset=1)])
    assert engine.query("FROM serving.bars_1h").schema.equals(empty)


def test_every_query_sees_the_newest_snapshots(append: Any, bar: Any, engine: SqlEngine) -> None:
    count = "SELECT count(*) AS bars FROM serving.bars_1m"
    for bars in range(3):
        assert engine.query(count).to_pylist() == [{"bars": bars}]
        append((BATCH, SPEED)[bars % 2], [bar(bars, last_offset=bars)])


def test_speed_tables_are_read_before_batch_tables(
    append: Any, bar: Any, engine: SqlEngine, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, order = catalog.load_table, []
    monkeypatch.setattr(catalog, "load_table", lambda name: order.append(name) or load(name))
    engine.query("SELECT * FROM serving.bars_1m, serving.trades")
    assert order == ["gold.bars_1m_rt", "silver.trades_rt", "gold.bars_1m", "silver.trades"]


def test_deleted_rows_are_gone(append: Any, bar: Any, engine: SqlEngine, catalog: Catalog) -> None:
    append(BATCH, [bar(minute, last_offset=minute) for minute in range(4)])
    catalog.load_table(BATCH).delete("last_offset < 3")
    rows = engine.query("SELECT last_offset FROM serving.bars_1m").to_pylist()
    assert rows == [{"last_offset": 3}]


def test_decimals_and_times_arrive_exactly(append: Any, bar: Any, engine: SqlEngine) -> None:
    notional = Decimal("9999999999999999999999.9999999999999999")
    row = bar(last_offset=1, notional=notional)
    row["first_trade_at"] += timedelta(microseconds=1)
    append(BATCH, [row])
    rows = engine.query("SELECT notional, first_trade_at FROM serving.bars_1m")
    assert rows.schema.field("first_trade_at").type == pa.timestamp("us", "UTC")
    assert rows.to_pylist() == [{"notional": notional, "first_trade_at": row["first_trade_at"]}]


def test_show_tables_lists_all(engine: SqlEngine) -> None:
    listed = {f"{row['schema']}.{row['table']}" for row in engine.query("SHOW TABLES").to_pylist()}
    assert listed == set(engine.relations())
    assert {"gold.bars_1m", "silver.trades_rt", "serving.bars_1h"} <= listed


def test_a_day_has_what_was_known_of_its_instrument_then(
    append: Any, bar: Any, engine: SqlEngine
) -> None:
    def said(valid_from: date, valid_to: date | None, tick: str, **changes: Any) -> dict[str, Any]:
        return {
            "venue": "binance_spot",
            "symbol": "BTCUSDT",
            "valid_from": valid_from,
            "valid_to": valid_to,
            "is_current": valid_to is None,
            "base_currency": "BTC",
            "quote_currency": "USDT",
            "kind": "SPOT",
            "tick_size": Decimal(tick),
            "lot_size": Decimal(1),
            "file_name": "instruments.csv",
            "checksum": "0",
            "loaded_at": NOON,
        } | changes

    today = NOON.date()
    append("silver.instruments", [said(today, today + timedelta(days=2), "0.1")])
    append("silver.instruments", [said(today + timedelta(days=2), None, "0.2")])
    append("silver.instruments", [said(today, None, "7", symbol="ETHUSDT")])
    days = (-1, 0, 1, 2, 3)
    append(BATCH, [bar(24 * 60 * day, last_offset=10 + day) for day in days])
    rows = engine.query(
        "SELECT base_currency, tick_size FROM serving.market_daily ORDER BY business_date"
    ).to_pylist()
    ticks = [None, Decimal("0.1"), Decimal("0.1"), Decimal("0.2"), Decimal("0.2")]
    assert [row["tick_size"] for row in rows] == ticks
    assert [row["base_currency"] for row in rows] == [None, *["BTC"] * 4]


def test_describe_and_explain_answer(engine: SqlEngine) -> None:
    columns = engine.query("DESCRIBE serving.market_daily").to_pylist()
    assert columns[2]["column_name"] == "business_date"
    assert columns[2]["column_type"] == "DATE"
    assert engine.query("EXPLAIN SELECT * FROM serving.bars_1h").num_rows == 1


@pytest.mark.parametrize("name", ["gold.nope", "nope", "elsewhere.gold.bars_1m", "'/etc/passwd'"])
def test_unknown_tables_are_refused_with_those_that_exist(engine: SqlEngine, name: str) -> None:
    with pytest.raises(UnknownTableError, match=r"there is no table .*gold\.bars_1m"):
        engine.query(f"SELECT * FROM {name}")


def test_an_unknown_column_is_a_wrong_statement(engine: SqlEngine) -> None:
    with pytest.raises(InvalidSqlError, match="colour"):
        engine.query("SELECT colour FROM serving.bars_1m")


def test_a_query_that_fails_says_why(engine: SqlEngine) -> None:
    with pytest.raises(QueryError, match="Could not convert"):
        engine.query("SELECT CAST('x' AS integer)")
    assert engine.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_a_closed_engine_opens_again(engine: SqlEngine) -> None:
    engine.query("SELECT 1")
    engine.close()
    assert engine.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_a_database_reads_its_folders_only(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "rows.csv").write_text("a\n1\n")
    database = Database([str(inside)])
    assert database.run(f"FROM read_csv('{inside}/rows.csv')").num_rows == 1
    for refused in (f"FROM read_csv('{outside}/rows.csv')", "SET enable_external_access = true"):
        with pytest.raises(Exception, match=r"[Pp]ermission|locked"):
            database.run(refused)
    database.close()


def test_a_reader_for_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.database.duckdb.__version__", "0.0.1")
    with pytest.raises(MissingExtensionError, match=r"0\.0\.1"):
        Database([])


@pytest.fixture
def days(append: Any, bar: Any) -> None:
    """Three days in both layers; speed has three files for each."""
    minutes = [day * 1440 for day in range(3)]
    append(BATCH, [bar(minute, last_offset=1) for minute in minutes])
    for version in (1, 2, 3):
        append(SPEED, [bar(minute, last_offset=version) for minute in minutes])


@pytest.mark.usefixtures("days")
def test_a_filter_on_time_spares_files_of_both_layers(
    files_read: Callable[[str], list[tuple[str, int]]],
) -> None:
    every = files_read("SELECT * FROM serving.bars_1m")
    assert every == [("bars_1m", 3), ("bars_1m", 3), ("bars_1m_rt", 9), ("bars_1m_rt", 9)]
    for condition in (
        "window_start >= TIMESTAMPTZ '2024-08-10 00:00:00+00'",
        "window_start = TIMESTAMPTZ '2024-08-09 12:00:00+00'",
        "window_start BETWEEN TIMESTAMPTZ '2024-08-09 00:00:00+00'"
        " AND TIMESTAMPTZ '2024-08-09 23:00:00+00' AND symbol = 'BTCUSDT'",
    ):
        some = files_read(f"SELECT * FROM serving.bars_1m WHERE {condition}")
        assert some == [("bars_1m", 1), ("bars_1m", 1), ("bars_1m_rt", 3), ("bars_1m_rt", 3)]


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize("column", ["venue", "symbol", "window_start"])
def test_filters_on_the_key_reach_all_scans(engine: SqlEngine, column: str) -> None:
    value = "TIMESTAMPTZ '2024-08-09 12:00:00+00'" if column == "window_start" else "'A'"
    # Something in between: Iceberg leaves out a scan that no file can satisfy.
    condition = f"{column} > {value}" if column == "window_start" else f"{column} <> {value}"
    plan = engine.query(f"EXPLAIN (FORMAT json) FROM serving.bars_1m WHERE {condition}")

    def filters(node: dict[str, Any]) -> Iterator[str]:
        if node["name"].strip() == "ICEBERG_SCAN":
            yield str(node["extra_info"].get("Filters", ""))
        for child in node["children"]:
            yield from filters(child)

    found = [f for root in json.loads(plan.to_pylist()[0]["explain_value"]) for f in filters(root)]
    assert len(found) == 4
    assert all(column in conditions for conditions in found), found


@pytest.mark.usefixtures("days")
def test_only_batch_files_of_the_speed_layers_times_are_looked_through(
    append: Any, trade: Any, files_read: Callable[[str], list[tuple[str, int]]]
) -> None:
    noon = trade(last_offset=1)["event_time"]
    hours = [noon + timedelta(hours=hour) for hour in range(5)]
    append("silver.trades", [trade(last_offset=1, event_time=time) for time in hours])
    append("silver.trades_rt", [trade(last_offset=2, event_time=hours[2])])
    read = files_read("SELECT * FROM serving.trades")
    # Once all rows, once those that a speed row may replace.
    assert read == [("trades", 1), ("trades", 5), ("trades_rt", 1), ("trades_rt", 1)]
    some = files_read(f"SELECT * FROM serving.trades WHERE event_time >= '{hours[3]}'")
    assert ("trades", 2) in some


def test_a_table_that_evolves_shows_its_new_column(
    append: Any, bar: Any, engine: SqlEngine, catalog: Catalog
) -> None:
    append(BATCH, [bar(last_offset=1)])
    before = engine.query(f"FROM {BATCH}").column_names
    with catalog.load_table(BATCH).update_schema() as update:
        update.add_column("note", StringType())
    assert engine.query(f"FROM {BATCH}").column_names == [*before, "note"]
    # The contract has not changed, so the merged view has not either.
    assert "note" not in engine.query("FROM serving.bars_1m").column_names


@pytest.mark.timeout(60)
def test_ctrl_c_ends_a_query_that_would_take_hours(engine: SqlEngine) -> None:
    main = threading.main_thread().ident
    assert main is not None
    ctrl_c = threading.Timer(1, signal.pthread_kill, (main, signal.SIGINT))
    ctrl_c.start()
    with pytest.raises(KeyboardInterrupt):
        engine.query("SELECT sum(a.range * b.range) FROM range(1000000) a, range(10000000) b")
    ctrl_c.join()
    assert engine.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]

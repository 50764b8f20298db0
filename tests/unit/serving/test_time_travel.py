"""The lake as of a time gone by: exact while history lasts, and plain about where it ends."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlglot
import structlog
from pyiceberg.catalog import Catalog
from pyiceberg.types import StringType
from sqlglot import exp
from typer.testing import CliRunner

from serving.engine import SqlEngine
from serving.history import HistoryError, known_since, snapshots_at
from serving.statements import InvalidSqlError
from serving.time_travel import Pin, as_of, pinned, tables_behind, tables_named

BATCH, SPEED = "gold.bars_1m", "gold.bars_1m_rt"
COUNT = "SELECT status, count(*) AS bars FROM serving.bars_1m GROUP BY status ORDER BY status"


@pytest.fixture
def tick() -> Callable[[], datetime]:
    """Return a time that is after what was committed and before what will be."""

    def tick() -> datetime:
        # Snapshots are told apart by the millisecond.
        edge = int(time.time() * 1000) + 1
        while time.time() * 1000 <= edge:
            pass
        return datetime.fromtimestamp(edge / 1000, UTC)

    return tick


def expire(catalog: Catalog, table: str, *places: int) -> None:
    loaded = catalog.load_table(table)
    ids = [loaded.history()[place].snapshot_id for place in places]
    loaded.maintenance.expire_snapshots().by_ids(ids).commit()


def test_views_and_tables_are_as_they_were(
    append: Any, bar: Any, engine: SqlEngine, tick: Callable[[], datetime]
) -> None:
    moments = [tick()]
    for table, last_offset in ((SPEED, 1), (BATCH, 1), (SPEED, 2)):
        append(table, [bar(last_offset=last_offset)])
        moments.append(tick())
    newest = "SELECT status, last_offset FROM serving.bars_1m"
    seen = [
        [(row["status"], row["last_offset"]) for row in engine.query(newest, as_of=at).to_pylist()]
        for at in moments
    ]
    assert seen == [
        [],
        [("PROVISIONAL", 1)],
        [("RECONCILED", 1)],
        [("PROVISIONAL", 2)],
    ]
    assert engine.query(f"FROM {BATCH}", as_of=moments[1]).num_rows == 0
    assert engine.query(f"FROM {BATCH}", as_of=moments[2]).num_rows == 1
    # The engine is the same, and back in the present.
    append(BATCH, [bar(1, last_offset=3)])
    assert engine.query(f"FROM {BATCH}").num_rows == 2


def test_before_the_speed_layers_history_the_views_are_what_batch_had_published(
    append: Any, bar: Any, engine: SqlEngine, catalog: Catalog, tick: Callable[[], datetime]
) -> None:
    append(BATCH, [bar(0, last_offset=1)])
    append(SPEED, [bar(0, last_offset=2), bar(1, last_offset=3)])
    then = tick()
    append(SPEED, [bar(2, last_offset=4)])
    known = [{"status": "PROVISIONAL", "bars": 2}]
    assert engine.query(COUNT, as_of=then).to_pylist() == known
    expire(catalog, SPEED, 0)
    with structlog.testing.capture_logs() as said:
        assert engine.query(COUNT, as_of=then).to_pylist() == [{"status": "RECONCILED", "bars": 1}]
    assert [entry["table"] for entry in said] == [SPEED]
    # Who asks for the speed table itself is not put off with nothing.
    with pytest.raises(HistoryError, match=r"gold\.bars_1m_rt reaches back to"):
        engine.query(f"FROM {SPEED}", as_of=then)


def test_before_batch_history_and_after_the_present_there_is_no_answer(
    append: Any, bar: Any, engine: SqlEngine, catalog: Catalog, tick: Callable[[], datetime]
) -> None:
    append(BATCH, [bar(0, last_offset=1)])
    then = tick()
    append(BATCH, [bar(1, last_offset=2)])
    expire(catalog, BATCH, 0)
    with pytest.raises(HistoryError, match=r"gold\.bars_1m reaches back to 20"):
        engine.query(COUNT, as_of=then)
    assert engine.query(COUNT, as_of=tick()).to_pylist() == [{"status": "RECONCILED", "bars": 2}]
    with pytest.raises(HistoryError, match="yet to come"):
        engine.query(COUNT, as_of=datetime.now(UTC) + timedelta(minutes=1))


def test_a_gap_in_a_history_is_not_read_as_rest(
    append: Any, bar: Any, catalog: Catalog, tick: Callable[[], datetime]
) -> None:
    """A tag keeps an old snapshot; after it some were expired, when other rows were current."""
    append(BATCH, [bar(0, last_offset=1)])
    table = catalog.load_table(BATCH)
    table.manage_snapshots().create_tag(table.history()[0].snapshot_id, "kept").commit()
    append(BATCH, [bar(1, last_offset=2)])
    in_the_gap = tick()
    append(BATCH, [bar(2, last_offset=3)])
    expire(catalog, BATCH, 1)
    table = catalog.load_table(BATCH)
    assert table.snapshot_as_of_timestamp(int(in_the_gap.timestamp() * 1000)) is not None
    with pytest.raises(HistoryError):
        snapshots_at({BATCH: table}, in_the_gap, named=[BATCH])
    assert known_since(table) > in_the_gap


def test_a_column_of_today_is_null_then(
    append: Any, bar: Any, engine: SqlEngine, catalog: Catalog, tick: Callable[[], datetime]
) -> None:
    append(BATCH, [bar(last_offset=1)])
    then = tick()
    with catalog.load_table(BATCH).update_schema() as update:
        update.add_column("note", StringType())
    catalog.load_table(BATCH).delete()
    (row,) = engine.query(f"FROM {BATCH}", as_of=then).to_pylist()
    assert (row["note"], row["last_offset"]) == (None, 1)


def test_trino_is_asked_for_the_snapshots_of_all_tables_behind_a_query() -> None:
    sql = """
        WITH best AS (SELECT * FROM serving.bars_1h)
        SELECT best.close, bars_1m.close, r.status FROM best
        JOIN lake.serving.bars_1m ON best.symbol = bars_1m.symbol
        CROSS JOIN ops.runs AS r
    """
    assert tables_named(sql) == {"serving.bars_1h", "serving.bars_1m", "ops.runs"}
    assert tables_behind(sql) == {BATCH, SPEED, "ops.runs"}
    written = as_of(sql, {BATCH: Pin(11), SPEED: Pin(22), "ops.runs": Pin(33)})
    query = sqlglot.parse_one(written, read="trino")
    pinned: dict[str, set[str]] = {}
    for table in query.find_all(exp.Table):
        version = table.args.get("version")
        if table.db:
            assert version is not None, table
            pinned.setdefault(f"{table.db}.{table.name}", set()).add(version.sql("trino"))
    assert pinned == {
        BATCH: {"FOR VERSION AS OF 11"},
        SPEED: {"FOR VERSION AS OF 22"},
        "ops.runs": {"FOR VERSION AS OF 33"},
    }
    joined = {join.this.alias for join in query.args["joins"]}
    assert joined == {"bars_1m", "r"}


def test_trino_reads_nothing_of_a_table_that_held_nothing() -> None:
    written = as_of("SELECT * FROM serving.bars_1m AS b", {BATCH: Pin(11), SPEED: Pin(None)})
    assert "FOR VERSION AS OF 11" in written
    assert written.count("FROM lake.gold.bars_1m_rt WHERE FALSE") == 2
    assert written.endswith(") AS b")


def test_trino_reads_the_columns_of_today_of_a_table_that_has_changed_since(
    append: Any, bar: Any, catalog: Catalog
) -> None:
    append(BATCH, [bar(last_offset=1)])
    append(SPEED, [bar(last_offset=2)])
    with catalog.load_table(BATCH).update_schema() as update:
        update.add_column("note", StringType())
        update.rename_column("vwap", "average")
    tables = {name: catalog.load_table(name) for name in (BATCH, SPEED)}
    snapshots = {name: table.history()[0].snapshot_id for name, table in tables.items()}
    written = as_of(f"SELECT average FROM {BATCH} AS b, {SPEED}", pinned(tables, snapshots))
    query = sqlglot.parse_one(written, read="trino")
    (then,) = (rows for rows in query.find_all(exp.Subquery) if rows.alias == "b")
    columns = {column.alias_or_name: column.unalias().sql() for column in then.this.selects}
    assert (columns["average"], columns["note"], columns["close"]) == ("vwap", "NULL", "close")
    assert list(columns) == [field.name for field in tables[BATCH].schema().fields]
    assert f"FROM {BATCH} FOR VERSION AS OF {snapshots[BATCH]}" in written
    assert f"{SPEED} FOR VERSION AS OF {snapshots[SPEED]}" in written


@pytest.mark.parametrize("statement", ["SHOW TABLES", "DROP TABLE gold.bars_1m", "SELECT FROM ("])
def test_only_a_query_is_asked_of_trino_as_of_a_time(statement: str) -> None:
    with pytest.raises(InvalidSqlError):
        as_of(statement, {})


def test_the_verb_takes_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import serving.cli

    asked = []

    class Asked:
        def query(self, sql: str, *, as_of: datetime | None = None) -> Any:
            import pyarrow as pa

            asked.append((sql, as_of))
            return pa.table({"a": [1]})

    monkeypatch.setattr(serving.cli, "sql_engine", lambda _settings: Asked())
    done = CliRunner().invoke(
        serving.cli.app, ["sql", "SELECT 1", "--as-of", "2026-11-22T20:00", "--json"]
    )
    assert (done.exit_code, json.loads(done.output)) == (0, [{"a": 1}]), done.output
    assert asked == [("SELECT 1", datetime(2026, 11, 22, 20, tzinfo=UTC))]

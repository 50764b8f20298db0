"""What a statement reads, and what is refused."""

import pytest

from serving.statements import InvalidSqlError, NotReadOnlyError, read_statement


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT 1", set()),
        ("SELECT * FROM gold.bars_1m", {"gold.bars_1m"}),
        ("FROM lake.gold.bars_1m; -- the end", {"gold.bars_1m"}),
        ('SELECT * FROM "GOLD"."Bars_1m" b JOIN silver.trades USING (venue)',
         {"gold.bars_1m", "silver.trades"}),
        ("WITH t AS (SELECT * FROM ops.runs) SELECT * FROM t, t AS u", {"ops.runs"}),
        ("WITH t AS (SELECT 1) SELECT * FROM gold.t", {"gold.t"}),
        ("SELECT (WITH t AS (SELECT 1) SELECT * FROM t), * FROM t", {"t"}),
        ("SELECT * FROM (SELECT 1) WHERE EXISTS (FROM gold.bars_1h)", {"gold.bars_1h"}),
        ("DESCRIBE serving.trades", {"serving.trades"}),
        ("SUMMARIZE gold.bars_1m", {"gold.bars_1m"}),
        ("/* why */ EXPLAIN ANALYZE SELECT * FROM gold.bars_1m", {"gold.bars_1m"}),
        ("EXPLAIN (FORMAT json) SELECT * FROM gold.bars_1m", {"gold.bars_1m"}),
        ("PIVOT gold.bars_1m ON symbol USING sum(volume)", {"gold.bars_1m"}),
        ("SELECT * FROM elsewhere.gold.bars_1m", {"elsewhere.gold.bars_1m"}),
        ("SELECT * FROM range(3), unnest([1, 2]), (VALUES (1))", set()),
        ("VALUES (1)", set()),
    ],
)  # fmt: skip
def test_tables_that_a_statement_reads(sql: str, tables: set[str]) -> None:
    assert read_statement(sql).tables == tables


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE gold.x AS SELECT 1",
        "DROP VIEW serving.bars_1m",
        "INSERT INTO gold.bars_1m SELECT * FROM gold.bars_1m_rt",
        "WITH t AS (SELECT 1) INSERT INTO gold.x FROM t",
        "UPDATE gold.bars_1m SET volume = 0",
        "DELETE FROM gold.bars_1m",
        "EXPLAIN ANALYZE DELETE FROM gold.bars_1m",
        "TRUNCATE gold.bars_1m",
        "COPY gold.bars_1m TO 'out.csv'",
        "ATTACH 'other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD iceberg",
        "CALL pragma_version()",
        "PRAGMA database_list",
        "CHECKPOINT",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet(['a.parquet'])",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_json_auto('a.json')",
        "SELECT * FROM parquet_scan('a.parquet')",
        "SELECT * FROM iceberg_scan('table')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM duckdb_settings()",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "EXPLAIN ANALYZE SELECT * FROM read_text('/etc/passwd')",
        "DESCRIBE SELECT * FROM read_csv('/etc/passwd')",
    ],
)
def test_writing_and_reading_files_are_refused(sql: str) -> None:
    with pytest.raises(NotReadOnlyError, match="refused"):
        read_statement(sql)


@pytest.mark.parametrize(
    "sql", ["", " ;", "-- nothing", "SELEC 1", "SELECT FROM WHERE", "SELECT (1"]
)
def test_what_is_no_statement_is_refused(sql: str) -> None:
    with pytest.raises(InvalidSqlError):
        read_statement(sql)


@pytest.mark.parametrize("second", ["SELECT 2", "DROP TABLE gold.bars_1m"])
def test_a_second_statement_is_refused(second: str) -> None:
    with pytest.raises(InvalidSqlError, match="one statement at a time"):
        read_statement(f"SELECT 1; {second}")

"""What each engine is given to make the views of."""

import pytest
import sqlglot
from schema_drafts import Draft
from sqlglot import exp

import schemas
from serving.decimals import Dialect
from serving.publication import fingerprint
from serving.views import view_names, view_sources, view_sql


@pytest.mark.parametrize("view", view_names())
@pytest.mark.parametrize("dialect", ["trino", "duckdb"])
def test_views_are_plain_sql_of_their_dialect(view: str, dialect: str) -> None:
    query = sqlglot.parse_one(
        view_sql(view, dialect), read=dialect, error_level=sqlglot.ErrorLevel.RAISE
    )
    names = {call.name.upper() for call in query.find_all(exp.Anonymous)}
    assert not names & {"MERGED", "DIVIDE_HALF_UP"}
    assert all(table.catalog == "lake" for table in query.find_all(exp.Table))
    assert view_sources(view)


def test_trino_gets_intervals_and_divisions_that_it_knows() -> None:
    assert "INTERVAL '1' MINUTE" in view_sql("serving.trades", "trino")
    daily = view_sql("serving.market_daily", "trino")
    assert "INT128" not in daily
    assert "//" not in daily
    # DECIMAL without digits would be decimal(38,0) there.
    assert "AS DECIMAL)" not in daily


def test_columns_come_from_the_contract() -> None:
    for view, table in (("serving.bars_1m", "gold.bars_1m"), ("serving.trades", "silver.trades")):
        query = sqlglot.parse_one(view_sql(view, "trino"), read="trino")
        branch = query.find(exp.Union).this
        names = [column.output_name for column in branch.selects]
        contract = schemas.contract(table).column_names
        assert names == [*(name for name in contract if name != "log_partition"), "status"]


@pytest.mark.parametrize("dialect", ["trino", "duckdb"])
def test_coarser_bars_add_up_what_the_minutes_carry(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, dialect: Dialect
) -> None:
    before = fingerprint("serving.bars_1h")
    draft.add("gold.bars_1m", "fee", "decimal(38,8)", carried=True)
    draft.deploy(monkeypatch)
    for view in ("serving.bars_1h", "serving.market_daily"):
        assert "SUM(bars.fee) AS DECIMAL(38, 8)) AS fee" in view_sql(view, dialect)
    assert "newest.fee" in view_sql("serving.bars_1m", dialect)
    assert fingerprint("serving.bars_1h") != before, "Trino's view is made again"

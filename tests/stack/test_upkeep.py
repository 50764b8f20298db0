"""Upkeep of the real stack: Iceberg's procedures on the object store, as the owner of the tables.

Gold is left out: the recording is of 2024, and its contracts keep a year.
"""

import json
from datetime import UTC, datetime, timedelta

import pytest
from stack.running import RunningStack

from serving.history import HistoryError
from serving.trino_engine import TrinoEngine
from serving.views import view_names

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

TABLES = (
    "bronze.market_trades",
    "bronze.dead_letters",
    "silver.trades",
    "silver.trades_rt",
    "gold.bars_1m_rt",
    "ops.runs",
)


def answers(engine: TrinoEngine, as_of: datetime | None = None) -> dict[str, list[str]]:
    return {
        view: sorted(map(str, engine.query(f"SELECT * FROM {view}", as_of=as_of).to_pylist()))
        for view in view_names()
    }


def test_views_are_the_same_after_upkeep_and_as_of_before_it(stack: RunningStack) -> None:
    engine, at = TrinoEngine(stack.role("serving")), datetime.now(UTC)
    before = answers(engine)
    words = [word for name in TABLES for word in ("--table", name)]
    reports = json.loads(stack.run("maintain", *words, "--json", deadline_seconds=600))
    assert {report["table"] for report in reports} == set(TABLES)
    assert {report["outcome"] for report in reports} <= {"DONE", "PUT_OFF"}, reports
    assert answers(engine) == before
    assert answers(engine, at) == before
    join = "SELECT count(*) AS n FROM serving.bars_1m AS a JOIN serving.bars_1h ON true"
    assert engine.query(join, as_of=at).num_rows == 1
    with pytest.raises(HistoryError, match="yet to come"):
        engine.query(join, as_of=datetime.now(UTC) + timedelta(hours=1))
    engine.close()

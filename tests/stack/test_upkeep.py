"""Upkeep of the real stack: Iceberg's procedures on the object store, as the owner of the tables.

Gold is left out: the recording is of 2024, and its contracts keep a year.
"""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import pytest
from accounting import market
from prometheus_client.parser import text_string_to_metric_families
from stack.running import RunningStack

from serving.history import HistoryError
from serving.trino_engine import TrinoEngine
from serving.views import view_names

pytestmark = [pytest.mark.stack, pytest.mark.drill, pytest.mark.timeout(900)]

TABLES = (
    "bronze.market_trades",
    "silver.trades_rt",
    "gold.bars_1m_rt",
    "ops.runs",
)


def answers(engine: TrinoEngine, as_of: datetime | None = None) -> dict[str, list[str]]:
    return {
        view: sorted(map(str, engine.query(f"SELECT * FROM {view}", as_of=as_of).to_pylist()))
        for view in view_names()
    }


def layers(stack: RunningStack) -> tuple[int, int, float]:
    """Return what another one of would show that a layer began again after a failed commit."""
    land, speed = stack.supervisor.find("land"), stack.supervisor.find("speed")
    assert land is not None
    assert speed is not None
    with urlopen(f"http://{stack.installation.address('speed-metrics')}/metrics") as page:
        families = text_string_to_metric_families(page.read().decode())
        [restarts] = [one.samples for one in families if one.name == "lakehouse_speed_restarts"]
    return land.pid, speed.pid, sum(one.value for one in restarts if one.name.endswith("_total"))


def test_beside_the_layers_at_work_upkeep_changes_nothing_for_readers_or_writers(
    stack: RunningStack,
) -> None:
    """That what came meanwhile is all there as well, the outages after this look into."""
    engine, at = TrinoEngine(stack.role("serving")), datetime.now(UTC)
    before, at_work = answers(engine), layers(stack)
    words = [word for name in TABLES for word in ("--table", name)]
    with market(stack, seed=5):
        reports = json.loads(stack.run("maintain", *words, "--json", deadline_seconds=600))
        assert layers(stack) == at_work
    assert answers(engine, at) == before
    assert {report["table"] for report in reports} == set(TABLES)
    assert {report["outcome"] for report in reports} <= {"DONE", "PUT_OFF"}, reports
    count, known = "SELECT count(*) AS n FROM serving.trades", len(before["serving.trades"])
    stack.wait_until(lambda: stack.rows(count)[0]["n"] > known, "what came meanwhile is visible")
    after = answers(engine)
    assert [view for view, rows in before.items() if Counter(rows) - Counter(after[view])] == []
    join = "SELECT count(*) AS n FROM serving.bars_1m AS a JOIN serving.bars_1h ON true"
    assert engine.query(join, as_of=at).num_rows == 1
    with pytest.raises(HistoryError, match="yet to come"):
        engine.query(join, as_of=datetime.now(UTC) + timedelta(hours=1))
    engine.close()

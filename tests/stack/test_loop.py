"""The recorded trades through the real stack, hour by hour, as on their day.

Airflow processes the two hours by schedule, without anyone. What Trino serves equals the oracle,
row by row, before, meanwhile and afterwards.
"""

import json
from typing import Any

import pytest
from stack.market_day import (
    EVENTS,
    MarketDay,
    Processed,
    assert_all_equal,
    assert_exact_as_stated,
)
from stack.orchestration import Airflow
from stack.running import FIRST_HOUR, LAST_HOUR, RunningStack

from demo.judge import Judge
from infra.airflow.api import HOURLY

pytestmark = [pytest.mark.stack, pytest.mark.airflow, pytest.mark.timeout(1800)]

BUDGET_BYTES = 12 << 30
# Of a run, at the least, beside its executors.
DRIVER_BYTES = 256 << 20


def test_what_the_speed_layer_serves_is_exact(day: MarketDay, judge: Judge) -> None:
    assert_exact_as_stated(judge)
    assert_all_equal(judge)


def test_an_application_runs_on_both_workers(day: MarketDay, stack: RunningStack) -> None:
    assert {"spark-worker-1", "spark-worker-2"} in list(stack.spark_applications().values())


def test_an_hour_is_not_processed_before_it_has_landed(
    day: MarketDay, airflow: Airflow, stack: RunningStack
) -> None:
    """By the lander's clock it is a few minutes past midnight."""
    second = airflow.run_of(HOURLY, LAST_HOUR)
    landed = airflow.states(HOURLY, second).get("landed", set()) if second else set()
    assert "success" not in landed
    known = stack.rows("SELECT DISTINCT interval_start FROM ops.reconciliations")
    assert LAST_HOUR not in {row["interval_start"] for row in known}


def test_both_hours_are_processed_and_reconciled(
    processed: Processed, judge: Judge, stack: RunningStack
) -> None:
    rows = stack.rows(
        "SELECT interval_start, table_name, verdict, rows_drifted FROM ops.reconciliations"
    )
    assert {(row["verdict"], row["rows_drifted"]) for row in rows} == {("AGREE", 0)}
    seen = {(row["interval_start"], row["table_name"]) for row in rows}
    for hour in (FIRST_HOUR, LAST_HOUR):
        assert {(hour, "silver.trades"), (hour, "gold.bars_1m")} <= seen
    assert stack.rows("SELECT DISTINCT status FROM serving.bars_1m") == [{"status": "RECONCILED"}]
    assert stack.rows("SELECT count(*) AS n FROM silver.trades") == [{"n": EVENTS}]
    assert_all_equal(judge)


def test_the_whole_stack_keeps_its_budget_while_batch_runs(
    processed: Processed, stack: RunningStack
) -> None:
    processes: list[dict[str, Any]] = json.loads(stack.run("status", "--json"))
    assert {(one["name"], one["health"]) for one in processes if one["health"] != "ready"} == set()
    assert 0 < sum(one["memory_bytes"] for one in processes) < BUDGET_BYTES
    resting, highest = processed.memory_bytes[0], max(processed.memory_bytes)
    print(f"resting {resting / 2**30:.1f} GiB, highest {highest / 2**30:.1f} GiB")
    assert resting + DRIVER_BYTES < highest < BUDGET_BYTES

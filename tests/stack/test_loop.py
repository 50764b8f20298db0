"""The recorded trades through the real stack, hour by hour, as on their day.

Airflow processes the two hours by schedule, without anyone. What Trino serves equals the oracle,
row by row, before, meanwhile and afterwards.
"""

import json
from typing import Any, NamedTuple

import pytest
from stack.market_day import MIDNIGHT, MarketDay, split_at_midnight
from stack.orchestration import Airflow
from stack.running import FIRST_HOUR, LAST_HOUR, RunningStack

from demo.judge import Judge
from demo.oracle import events_from_sample
from demo.topic import by_name
from demo.tour import sample_files
from lakehouse.intervals import HOUR
from serving.trino_engine import TrinoEngine

pytestmark = [pytest.mark.stack, pytest.mark.airflow, pytest.mark.timeout(1800)]

BUDGET_BYTES = 12 << 30
# Of a run, at the least, beside its executors.
DRIVER_BYTES = 256 << 20
EVENTS = 43_249
HOURLY = "hourly_lambda"
MINUTE = HOUR / 60


@pytest.fixture(scope="module")
def judge(stack: RunningStack) -> Judge:
    recorded = by_name(events_from_sample(sample_files()))
    return Judge(stack.role("ingest"), TrinoEngine(stack.role("orchestration")), recorded)


@pytest.fixture(scope="module")
def day(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> MarketDay:
    """The sample, sent in its two hours; both layers have it all, and the second hour goes on."""
    folder = tmp_path_factory.mktemp("day")
    before, after = split_at_midnight(sample_files(), folder)
    day = MarketDay(stack, folder)
    day.begin(MIDNIGHT - 3 * MINUTE)
    day.send(before)
    day.turn_to(MIDNIGHT + 3 * MINUTE)
    day.send(after)
    count = "SELECT coalesce(sum(trade_count), 0) AS n FROM serving.bars_1m"
    stack.wait_until(lambda: stack.rows(count)[0]["n"] == EVENTS, "all trades are in the view")
    return day


class Processed(NamedTuple):
    """The two hours, processed: Airflow's runs, and the memory that all took meanwhile."""

    runs: tuple[str, ...]
    memory_bytes: list[int]


@pytest.fixture(scope="module")
def processed(day: MarketDay, stack: RunningStack, airflow: Airflow, judge: Judge) -> Processed:
    day.turn_to(MIDNIGHT + HOUR + MINUTE)

    def second() -> str | None:
        # Whatever batch has published by now: each bar is exact as of what it states.
        assert_exact_as_stated(judge)
        return airflow.run_of(HOURLY, LAST_HOUR)

    with stack.memory_watched() as memory_bytes:
        stack.wait_until(
            lambda: second() is not None, "the second hour has begun", deadline_seconds=900
        )
        runs = tuple(airflow.run_of(HOURLY, hour) or "" for hour in (FIRST_HOUR, LAST_HOUR))
        ended = airflow.wait_for(HOURLY, runs)
    assert ended == {"success"}, airflow.story(HOURLY, runs)
    return Processed(runs, memory_bytes)


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


def assert_exact_as_stated(judge: Judge) -> None:
    verdict = judge.as_of_now()
    assert verdict.equal, str(verdict)
    assert verdict.values > 0


def assert_all_equal(judge: Judge) -> None:
    for view, verdict in judge.at_the_end().items():
        assert verdict.equal, f"{view}: {verdict}"

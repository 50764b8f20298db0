"""The recorded trades through the real stack: what Trino serves equals the oracle, row by row."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from stack.running import RunningStack

from demo.judge import Judge
from demo.oracle import events_from_sample
from demo.topic import by_name
from demo.tour import sample_files
from serving.trino_engine import TrinoEngine

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

BUDGET_BYTES = 12 << 30
# Of batch, at the least, beside its executors.
DRIVER_BYTES = 256 << 20
EVENTS = 43_249


@pytest.fixture(scope="module")
def replayed(stack: RunningStack) -> datetime:
    """The time just before the sample was sent; both layers have it all by now."""
    start = datetime.now(UTC) - timedelta(seconds=1)
    summary = json.loads(stack.run("replay", *map(str, sample_files()), "--json"))
    assert summary["events"] == EVENTS
    count = "SELECT coalesce(sum(trade_count), 0) AS n FROM serving.bars_1m"
    stack.wait_until(lambda: stack.rows(count)[0]["n"] == EVENTS, "all trades are in the view")
    return start


@pytest.fixture(scope="module")
def judge(stack: RunningStack) -> Judge:
    recorded = by_name(events_from_sample(sample_files()))
    return Judge(stack.role("ingest"), TrinoEngine(stack.role("orchestration")), recorded)


class Batched(NamedTuple):
    """A run of batch: what was asked, its report, and the memory that all took meanwhile."""

    bounds: tuple[str, ...]
    report: dict[str, Any]
    memory_bytes: list[int]


@pytest.fixture(scope="module")
def batched(replayed: datetime, stack: RunningStack) -> Batched:
    end = stack.ingested_through().isoformat()
    bounds = ("--dataset", "trades", "--start", replayed.isoformat(), "--end", end)
    with stack.memory_watched() as memory_bytes:
        report = json.loads(stack.run("batch", *bounds, "--json", deadline_seconds=600))
    return Batched(bounds, report, memory_bytes)


def test_what_the_speed_layer_serves_is_exact(replayed: datetime, judge: Judge) -> None:
    verdict = judge.as_of_now()
    assert verdict.equal, str(verdict)
    assert verdict.values > 0
    assert_all_equal(judge)


def test_an_application_runs_on_both_workers(replayed: datetime, stack: RunningStack) -> None:
    assert {"spark-worker-1", "spark-worker-2"} in list(stack.spark_applications().values())


def test_batch_on_the_cluster_confirms_it(
    batched: Batched, judge: Judge, stack: RunningStack
) -> None:
    assert batched.report["trades"]["rows"]["silver.trades"] == EVENTS
    assert_all_equal(judge)
    reconciled = stack.run("reconcile", *batched.bounds, "--json", deadline_seconds=600)
    records = json.loads(reconciled)
    assert {record["verdict"] for record in records} == {"AGREE"}
    assert {record["drifted"] for record in records} == {0}
    assert stack.rows("SELECT DISTINCT status FROM serving.bars_1m") == [{"status": "RECONCILED"}]
    assert_all_equal(judge)


def test_the_whole_stack_keeps_its_budget_while_batch_runs(
    batched: Batched, stack: RunningStack
) -> None:
    processes: list[dict[str, Any]] = json.loads(stack.run("status", "--json"))
    assert {(one["name"], one["health"]) for one in processes if one["health"] != "ready"} == set()
    assert 0 < sum(one["memory_bytes"] for one in processes) < BUDGET_BYTES
    resting, highest = batched.memory_bytes[0], max(batched.memory_bytes)
    assert resting + DRIVER_BYTES < highest < BUDGET_BYTES


def assert_all_equal(judge: Judge) -> None:
    for view, verdict in judge.at_the_end().items():
        assert verdict.equal, f"{view}: {verdict}"

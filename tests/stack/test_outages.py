"""Servers that go away and come back while the loop runs: nothing lost, nothing twice."""

import json
import time
from collections.abc import Mapping, Set
from datetime import UTC, datetime, timedelta

import pytest
from accounting import check_accounts, check_view, judge, market
from stack.running import RunningStack

from lakehouse import operations
from lakehouse.components import READY, selected
from lakehouse.errors import LakehouseError
from schemas.registry import schema_registry

pytestmark = [pytest.mark.stack, pytest.mark.drill, pytest.mark.timeout(1500)]

SERVERS = (
    "trino",
    "registry",
    "spark-worker-1",
    "spark-master",
    "postgresql",
    "minio",
    "kafka",
)
# Long enough that every process of ours has met the outage: a commit comes twice a second.
AWAY_SECONDS = 8.0
# What docs/outages.md promises.
RECOVERED_SECONDS = 180.0


def is_visible(stack: RunningStack, name: str) -> bool:
    try:
        return bool(stack.rows(f"SELECT 1 AS n FROM serving.trades WHERE symbol = '{name}'"))
    except LakehouseError:  # Trino finds its way back as the others do
        return False


def accounted(stack: RunningStack) -> int:
    """How many messages of the log are in bronze or among the dead letters of the lander."""
    rows = stack.rows(
        "SELECT (SELECT count(*) FROM bronze.market_trades) + (SELECT count(*) FROM "
        "bronze.dead_letters WHERE topic = 'market.trades' AND stage = 'lander') AS n"
    )
    return int(rows[0]["n"])


def running(stack: RunningStack) -> dict[str, int | None]:
    """Return the process ids of all that is ready for work."""
    found = operations.status(stack.settings)
    return {process.name: process.pid for process in found if process.health == READY}


def independent(stack: RunningStack, server: str) -> set[str]:
    """Return the names of what starts without a server."""
    known = operations.components(stack.settings)
    needs = {one.name: {other.name for other in selected(known, [one.name])} for one in known}
    return {one.name for one in known if one.launch and server not in needs[one.name]}


def go_on(stack: RunningStack, before: Mapping[str, int | None], names: Set[str]) -> None:
    """Wait until some processes are ready, and are those that were so before."""
    same = {name: before.get(name) for name in names}
    stack.wait_until(lambda: same.items() <= running(stack).items(), f"{sorted(same)} go on")


def test_each_server_goes_away_and_comes_back(
    stack: RunningStack, capsys: pytest.CaptureFixture[str]
) -> None:
    start = datetime.now(UTC) - timedelta(seconds=1)
    recovered: dict[str, float] = {}
    with market(stack, seed=4):
        for server in SERVERS:
            before = running(stack)
            stack.supervisor.stop(server)
            gone_at = time.monotonic()
            stack.wait_until(
                lambda gone_at=gone_at: time.monotonic() - gone_at > AWAY_SECONDS,  # type: ignore[misc]
                f"{server} is missed",
            )
            go_on(stack, before, independent(stack, server))
            stack.restart(server)
            back_at = time.monotonic()
            name = f"BACK_{server.upper().replace('-', '_')}"
            stack.trade(name)
            stack.wait_until(lambda name=name: is_visible(stack, name), f"{name} is visible")  # type: ignore[misc]
            recovered[server] = time.monotonic() - back_at
            # Also what depends on it has sat the outage out: nobody starts it again.
            go_on(stack, before, before.keys() - {server})
    with capsys.disabled():
        for server, seconds in recovered.items():
            print(f"\n{server}: fresh again {seconds:.1f} s after it was back", end="")
    judged = judge(stack.log(), schema_registry(stack.role("ingest")))
    stack.wait_until(lambda: accounted(stack) >= len(judged.records), "all of the log has landed")
    check_accounts(stack, judged)
    end = stack.ingested_through()
    bounds = (
        "--start",
        start.isoformat(),
        "--end",
        end.isoformat(),
        "--dataset",
        "trades",
        "--json",
    )
    stack.run("batch", *bounds, deadline_seconds=600)
    records = json.loads(stack.run("reconcile", *bounds, deadline_seconds=600))
    assert {record["verdict"] for record in records} == {"AGREE"}
    check_view(stack, judged)
    assert max(recovered.values()) < RECOVERED_SECONDS

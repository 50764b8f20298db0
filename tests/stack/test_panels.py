"""Every panel's query, asked of a real Prometheus, returns data.

Which jobs a query needs is derived from the metrics that it names.
"""

import time

import pytest
from stack.monitoring import Prometheus

from infra.grafana.boards import Query
from infra.grafana.build import BOARDS

# The first of them waits for a lake with everything in it: minutes on a loaded machine.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

# A rate needs two looks, a recording rule one more, and a loaded machine takes its time.
DEADLINE_SECONDS = 120.0
POLL_SECONDS = 1.0
OURS = {"lander", "speed", "live", "api", "commands", "metrics"}
SOURCES = {
    *("contracts", "log", "tables", "runs", "batch"),
    *("reconciliations", "upkeep", "dead_letters", "poison", "model_checks"),
}
QUERIES = [
    pytest.param(query, id=f"{board.uid}: {panel.title}: {query.legend or query.expr[:40]}")
    for board in BOARDS
    for panel in board.panels()
    for query in panel.queries
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_panels_query_returns_data(prometheus: Prometheus, query: Query) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (query.jobs <= prometheus.jobs() and prometheus.query(query.expr)):
        assert time.monotonic() < deadline, f"no data: {query.expr} of {query.jobs}"
        time.sleep(POLL_SECONDS)


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) >= 13
    assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []


def test_our_processes_answer(prometheus: Prometheus) -> None:
    assert prometheus.jobs() >= {*OURS, "prometheus"}
    versions = prometheus.query(f'lakehouse_build_info{{job=~"{"|".join(sorted(OURS))}"}}')
    assert {sample["metric"]["job"] for sample in versions} == OURS


def test_the_exporter_reads_every_source(prometheus: Prometheus) -> None:
    assert prometheus.query("lakehouse_exporter_up == 0") == []
    found = {one["metric"]["source"] for one in prometheus.query("lakehouse_exporter_up == 1")}
    assert found == SOURCES

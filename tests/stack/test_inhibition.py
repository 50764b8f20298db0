"""Which alerts a real Alertmanager mutes while something is down."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stack.monitoring import tool

from lakehouse.infra import INFRA
from lakehouse.processes import Supervisor

pytestmark = pytest.mark.stack

NAME = "alertmanager"
DOWN, FRESHNESS = "LakehouseTargetDown", "LakehouseFreshnessBeyondContract"
NO_DATA, LAG = "LakehouseNoData", "LakehouseLanderLag"
DEADLINE_SECONDS = 30.0
BRONZE, TWIN = "bronze.oms_fills", "gold.bars_1m_rt"
# What may fire, as the rules label it.
ALERTS = {
    "bronze is old": {"alertname": FRESHNESS, "table": BRONZE},
    "batch is old": {"alertname": FRESHNESS, "table": "gold.bars_1m"},
    "speed is old": {"alertname": FRESHNESS, "table": TWIN},
    "a view is old": {"alertname": FRESHNESS, "view": "serving.bars_1m"},
    "a topic is silent": {"alertname": NO_DATA, "topic": "market.trades"},
    "no lander tells": {"alertname": NO_DATA},
    "the lander lags": {"alertname": LAG, "table": BRONZE, "topic": "oms.fills"},
    "a run failed": {"alertname": "LakehouseBatchFailed", "kind": "batch", "dataset": "trades"},
}
LANDER_EXPLAINS = {"bronze is old", "a topic is silent", "no lander tells", "the lander lags"}
SPEED_EXPLAINS = {"speed is old", "a view is old"}
COMPONENTS = ("metrics", "trino", "spark", "registry", "minio", "alertmanager")


class Alertmanager:
    """A running one, by its port."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Whether it answers."""
        with suppress(OSError), urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
            return True
        return False

    def tell(self, *labels: dict[str, str]) -> None:
        """Tell it of alerts that fire."""
        body = json.dumps([{"labels": of} for of in labels]).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/api/v2/alerts", body, headers)
        with urllib.request.urlopen(request, timeout=5):
            pass

    def muted(self) -> list[dict[str, str]]:
        """Return the labels of alerts that others explain."""
        with urllib.request.urlopen(f"{self._url}/api/v2/alerts", timeout=5) as answer:
            alerts: list[dict[str, Any]] = json.load(answer)
        return [alert["labels"] for alert in alerts if alert["status"]["inhibitedBy"]]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    supervisor = Supervisor(tmp_path)
    port = supervisor.port(NAME)
    argv = [tool(NAME), f"--config.file={INFRA / 'alertmanager/alertmanager.yml'}"]
    argv += [f"--storage.path={tmp_path / 'data'}", "--cluster.listen-address="]
    record = supervisor.start(NAME, [*argv, f"--web.listen-address=127.0.0.1:{port}"])
    started = Alertmanager(port)
    try:
        supervisor.wait_until(record, started.is_ready, deadline_seconds=DEADLINE_SECONDS)
        yield started
    finally:
        supervisor.stop(NAME)


def test_an_hour_is_late_for_its_failed_task_and_for_no_other(alertmanager: Alertmanager) -> None:
    failed = {"alertname": "LakehouseTaskFailed", "dag": "hourly_lambda", "run": "one"}
    late = {"alertname": "LakehouseHourLate", "dag": "hourly_lambda"}
    alertmanager.tell(failed, late | {"run": "one"}, late | {"run": "two"})
    assert alertmanager.muted() == [late | {"run": "one"}]


@pytest.mark.parametrize(
    ("down", "muted"),
    [("lander", LANDER_EXPLAINS), ("speed", SPEED_EXPLAINS), *((job, set()) for job in COMPONENTS)],
)
def test_only_what_is_explained_is_muted(
    alertmanager: Alertmanager, down: str, muted: set[str]
) -> None:
    alertmanager.tell({"alertname": DOWN, "job": down}, *ALERTS.values())
    found = alertmanager.muted()
    assert {name for name, labels in ALERTS.items() if labels in found} == muted
    assert len(found) == len(muted)

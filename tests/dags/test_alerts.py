"""What Airflow tells by itself: an hour that is late, a task that failed, whose run a job is."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow_python import Dags

pytestmark = pytest.mark.airflow

TRANSPORT = {"type": "console"}


class Alertmanager:
    """Takes alerts, and keeps them."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        taken = self.alerts

        class Api(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.extend(json.loads(body) if self.path == "/api/v2/alerts" else [])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[Alertmanager]:
    running = Alertmanager()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture(scope="module")
def telling(asking: Callable[..., Dags], alertmanager: Alertmanager) -> Dags:
    """The DAGs, with somebody to tell."""
    return asking(
        LAKEHOUSE_ALERTMANAGER=alertmanager.address,
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(TRANSPORT),
    )


def test_an_hour_that_is_late_is_told_of(telling: Dags, alertmanager: Alertmanager) -> None:
    alertmanager.alerts.clear()
    assert telling.ask("late", run="by-hand", by="2024-08-09T02:00:00Z") == ["running", "success"]
    (alert,) = alertmanager.alerts
    assert alert["labels"] == {
        "alertname": "LakehouseHourLate",
        "severity": "warning",
        "dag": "hourly_lambda",
        "run": "by-hand",
    }
    assert "2024-08-09T02:00:00Z" in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == "docs/runbook/LakehouseHourLate.md"


def test_a_task_that_failed_is_told_of(telling: Dags, alertmanager: Alertmanager) -> None:
    alertmanager.alerts.clear()
    telling.ask("fail", task="batch.audit", error="a trade is missing")
    (alert,) = alertmanager.alerts
    assert alert["labels"] == {
        "alertname": "LakehouseTaskFailed",
        "severity": "warning",
        "dag": "hourly_lambda",
        "task": "batch.audit",
        "run": "by-hand",
    }
    assert alert["annotations"]["summary"] == (
        "hourly_lambda.batch.audit failed: a trade is missing"
    )


def test_what_a_task_submits_is_told_whose_run_it_is(telling: Dags, dags: Dags) -> None:
    told = telling.ask("parent", task="batch.silver")
    jobs = {name: value.rsplit("/", 1)[0] for name, value in told.items()}
    assert jobs == {
        "OPENLINEAGE_PARENT_ID": "lakehouse/hourly_lambda.batch.silver",
        "OPENLINEAGE_ROOT_PARENT_ID": "lakehouse/hourly_lambda",
    }
    assert dags.ask("parent", task="batch.silver") == {}, "lineage goes nowhere"

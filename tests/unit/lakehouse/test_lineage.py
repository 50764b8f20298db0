"""Lineage reaches a folder or a service; one that is away harms nobody."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import structlog
from openlineage.client.naming.dataset import S3, Kafka, LocalFileSystem
from pydantic import ValidationError

from lakehouse.intervals import Interval
from lakehouse.lineage import Dataset, DatasetName, Flow, configure_lineage, lineage_run
from lakehouse.settings import Settings

TOPIC = Kafka("localhost", "9092", "market.trades")
TABLE = S3("lake", "warehouse/silver.db/trades")
FILE = LocalFileSystem("/lake/warehouse/bronze.db/market_trades")
READ = Dataset(DatasetName(TOPIC.get_namespace(), TOPIC.get_name()))
WRITTEN = Dataset(
    DatasetName(TABLE.get_namespace(), TABLE.get_name()),
    "silver.trades",
    (("price", "decimal(18, 8)", "Price that counts."),),
    {"price": ((READ.name, "value.price"),)},
)
HOUR = Interval.parse("2024-08-08T23:00", "2024-08-09T00:00")
RUN_ID = "0123456789abcdef0123456789abcdef"
AIRFLOW_RUN = "01234567-89ab-7def-8123-456789abcdef"


def flow(_settings: Settings) -> Flow:
    return Flow((READ,), (WRITTEN,))


def run_batch(rows: int | None = 3) -> None:
    with lineage_run("batch.trades", flow, run_id=RUN_ID, interval=HOUR) as written:
        if rows is None:
            raise ZeroDivisionError("no rows")
        written["silver.trades"] = rows


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    configure_lineage("batch", Settings(openlineage_url=(tmp_path / "lineage").as_uri()))
    yield tmp_path / "lineage"
    configure_lineage("batch", Settings())


def told(folder: Path) -> list[dict[str, Any]]:
    file = folder / "batch.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_run_begins_and_completes(folder: Path) -> None:
    run_batch()
    start, complete = told(folder)
    assert [start["eventType"], complete["eventType"]] == ["START", "COMPLETE"]
    assert (
        start["run"]["runId"]
        == complete["run"]["runId"]
        == "01234567-89ab-cdef-" + RUN_ID[16:20] + "-" + RUN_ID[20:]
    )
    assert complete["job"]["name"] == "batch.trades"
    assert complete["job"]["facets"]["jobType"]["processingType"] == "BATCH"
    times = complete["run"]["facets"]["nominalTime"]
    assert datetime.fromisoformat(times["nominalStartTime"]) == datetime(2024, 8, 8, 23, tzinfo=UTC)
    assert datetime.fromisoformat(times["nominalEndTime"]) == datetime(2024, 8, 9, tzinfo=UTC)
    (read,), (written,) = complete["inputs"], complete["outputs"]
    assert (read["namespace"], read["name"]) == ("kafka://localhost:9092", "market.trades")
    assert (written["namespace"], written["name"]) == ("s3://lake", "warehouse/silver.db/trades")
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 3
    (identifier,) = written["facets"]["symlinks"]["identifiers"]
    assert identifier == {"namespace": "lake", "name": "silver.trades", "type": "TABLE"}
    (source,) = written["facets"]["columnLineage"]["fields"]["price"]["inputFields"]
    assert source == {
        "namespace": "kafka://localhost:9092",
        "name": "market.trades",
        "field": "value.price",
        "transformations": [{"type": "DIRECT"}],
    }


def test_a_run_that_fails_says_why(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_batch(rows=None)
    _, failed = told(folder)
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "ZeroDivisionError: no rows"


def test_a_run_that_airflow_began_names_its_task_and_its_dag(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"lakehouse/hourly_lambda.publish/{AIRFLOW_RUN}")
    monkeypatch.setenv("OPENLINEAGE_ROOT_PARENT_ID", f"lakehouse/hourly_lambda/{AIRFLOW_RUN}")
    run_batch()
    for event in told(folder):
        parent = event["run"]["facets"]["parent"]
        assert parent["job"] | {"facets": {}} == {
            "namespace": "lakehouse",
            "name": "hourly_lambda.publish",
            "facets": {},
        }
        assert parent["run"]["runId"] == parent["root"]["run"]["runId"] == AIRFLOW_RUN
        assert parent["root"]["job"]["name"] == "hourly_lambda"


def test_a_service_is_sent_each_event() -> None:
    taken: list[dict[str, Any]] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append({"path": self.path, **json.loads(body)})
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        configure_lineage(
            "batch", Settings(openlineage_url=f"http://127.0.0.1:{server.server_port}")
        )
        run_batch()
        configure_lineage("batch", Settings())
        server.shutdown()
    assert [(event["path"], event["eventType"]) for event in taken] == [
        ("/api/v1/lineage", "START"),
        ("/api/v1/lineage", "COMPLETE"),
    ]


def test_a_service_that_is_away_harms_nobody_and_is_told_of_once() -> None:
    configure_lineage("batch", Settings(openlineage_url="http://127.0.0.1:9"))
    with structlog.testing.capture_logs() as lines:
        run_batch()
        run_batch()
    configure_lineage("batch", Settings())
    assert [line["event"] for line in lines] == ["lineage is lost"]


def test_a_flow_that_cannot_be_described_harms_nobody(folder: Path) -> None:
    def describe(_settings: Settings) -> Flow:
        raise LookupError("no such table")

    with lineage_run("batch.trades", describe):
        pass
    assert told(folder) == []


def test_without_an_address_nothing_is_described_and_no_library_is_read() -> None:
    program = """
import sys
from lakehouse.lineage import configure_lineage, lineage_run
from lakehouse.settings import Settings
configure_lineage("batch", Settings())
with lineage_run("batch.trades", lambda _: 1 / 0):
    pass
sys.exit("openlineage" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("address", ["lineage", "ftp://host/", "file://", "http://"])
def test_an_address_that_cannot_be_meant_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="openlineage_url"):
        Settings(openlineage_url=address)

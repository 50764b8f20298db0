"""What the DAGs are made of: tasks that submit and adopt drivers, the watch of the drop folder.

The cluster's pages are made up here, since a real master ends no driver on demand; `tests/stack`
has the real ones.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow_python import Dags
from dropped_files import FileLake, csv_of, instrument

from lakehouse.settings import Settings

pytestmark = pytest.mark.airflow

# A command line that submits: each driver has the next number.
SUBMIT = """#!/bin/sh
echo "$@" >> "{said}"
printf '{{"driver_id": "driver-%s", "page": "{page}"}}' "$(wc -l < "{said}")"
"""
WRITTEN = '{"event": "written", "table": "silver.trades"}'


class Master:
    """The pages of a master and its one worker."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.logs: dict[str, str] = {}
        master = self

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(master.page(self.path).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, path: str) -> str:
        if path.startswith("/log/"):
            return next((log for driver, log in self.logs.items() if driver in path), "")
        rows = [{"id": one, "state": state, "worker": "w"} for one, state in self.states.items()]
        return json.dumps(
            {
                "activedrivers": [row for row in rows if row["state"] == "RUNNING"],
                "completeddrivers": [row for row in rows if row["state"] != "RUNNING"],
                "workers": [{"id": "w", "webuiaddress": self.address}],
            }
        )


@pytest.fixture
def master() -> Iterator[Master]:
    one = Master()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def try_job(
    asking: Callable[..., Dags], master: Master, tmp_path: Path
) -> Callable[..., tuple[str, str]]:
    """Let a task begin; return whether it is done or waits, and for which driver."""
    command = tmp_path / "lakehouse"
    command.write_text(SUBMIT.format(said=tmp_path / "said", page=master.address))
    command.chmod(0o755)
    python = asking(PATH=f"{tmp_path}:{os.environ['PATH']}")

    def begin(series: int = 3, *, of: str | None = None, **about: Any) -> tuple[str, str]:
        before = {"driver_id": of, "page": master.address} if of else None
        ((end, driver),) = python.ask(
            "try_job", store="one", series=series, of=before, **about
        ).items()
        master.states.setdefault(driver["driver_id"], "RUNNING")
        return end, driver["driver_id"]

    return begin


def test_a_task_adopts_what_runs_replaces_what_failed_and_is_begun_anew_when_cleared(
    master: Master, try_job: Callable[..., tuple[str, str]]
) -> None:
    assert try_job() == ("waits_for", "driver-1")
    assert try_job() == ("waits_for", "driver-1"), "a retry goes on with what runs"
    for number, ended in enumerate(("FAILED", "KILLED", "ERROR"), start=1):
        master.states[f"driver-{number}"] = ended
        assert try_job() == ("waits_for", f"driver-{number + 1}"), f"{ended} is replaced"
    del master.states["driver-4"]
    assert try_job() == ("waits_for", "driver-5"), "what the cluster has forgotten is replaced"
    master.states["driver-5"] = "FINISHED"
    assert try_job() == ("done", "driver-5"), "what has ended well is not done again"
    assert try_job(series=7) == ("waits_for", "driver-6"), "cleared, it is"


def test_a_driver_that_is_done_soon_is_waited_for_by_its_task(
    master: Master, try_job: Callable[..., tuple[str, str]]
) -> None:
    master.states["driver-1"] = "FINISHED"
    assert try_job(patience=20.0) == ("done", "driver-1")
    master.states["driver-of-silver"] = "RUNNING"
    asked = {"of": "driver-of-silver", "step": "silver", "series": 7}
    assert try_job(**asked, patience=0.1) == ("waits_for", "driver-of-silver")
    master.logs["driver-of-silver"] = WRITTEN
    assert try_job(**asked, patience=20.0) == ("done", "driver-of-silver")


def test_a_step_goes_on_with_the_driver_of_the_step_before(
    master: Master, try_job: Callable[..., tuple[str, str]]
) -> None:
    master.states["driver-of-silver"] = "RUNNING"
    assert try_job(of="driver-of-silver", step="silver") == ("waits_for", "driver-of-silver")
    master.logs["driver-of-silver"] = WRITTEN
    assert try_job(of="driver-of-silver", step="silver") == ("done", "driver-of-silver")
    assert try_job(of="driver-of-silver", step="gold") == ("waits_for", "driver-of-silver")
    master.states["driver-of-silver"] = "FAILED"
    assert try_job(of="driver-of-silver", step="gold") == ("waits_for", "driver-1")
    assert try_job(of="driver-of-silver", step="gold") == ("waits_for", "driver-1")


@pytest.fixture
def on_platform(asking: Callable[..., Dags], settings: Settings) -> Dags:
    """Airflow's Python beside the real command line, on a home of its own."""
    bin_folder = Path(sys.executable).parent
    return asking(
        PATH=f"{os.environ['PATH']}:{bin_folder}", LAKEHOUSE_HOME=str(settings.home), TZ="UTC"
    )


def test_the_watch_fires_for_each_file_that_is_whole(on_platform: Dags, settings: Settings) -> None:
    lake = FileLake(settings)
    for name in ("a.csv", "b.csv"):
        lake.put(name, csv_of(instrument(name[0].upper())))
    lake.put("c.csv.part", "")
    told = on_platform.ask("arrivals", count=2)
    assert {one["file"] for one in told} == {"instruments/a.csv", "instruments/b.csv"}
    runs = on_platform.run("file_arrivals")["arrived"]["returns"]
    assert runs == on_platform.ask("loads", files=sorted(told, key=lambda one: one["modified_ns"]))
    assert not [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "waiting" in (process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("LAKEHOUSE_HOME") == str(settings.home)
    ], "the watch is taken down with the trigger"


def test_a_verb_is_done_and_one_that_says_no_is_not_tried_again(
    on_platform: Dags, settings: Settings
) -> None:
    lake = FileLake(settings)
    lake.put("a.csv", csv_of(instrument("A")))
    lake.put("b.csv", "venue\nv\n")
    for _ in range(2):
        told = on_platform.ask("verb", words=["files", "load", "instruments/a.csv"])
        assert told == {"said": "instruments/a.csv: LOADED, 1 rows, 0 refused"}
    told = on_platform.ask("verb", words=["files", "load", "instruments/b.csv"])
    assert "instruments/b.csv was refused" in told["failed"]
    assert not told["again"]
    away = {"words": ["erase", "--customer", "C-1"]}
    (settings.home / "catalog.db").write_bytes(b"no database")
    told = on_platform.ask("verb", **away)
    assert told["again"], told

"""The stack's Airflow, as a person or a program asks it: over its REST API, and by its command."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stack.running import RunningStack

from lakehouse.stack.http import tls_context

HOURLY = "hourly_lambda"
RUN_SECONDS = 900.0
OVER = {"success", "failed"}


@dataclass
class Airflow:
    """The API of a running stack's Airflow, as one of its users."""

    stack: RunningStack
    user: str = "admin"
    password: str | None = None
    """The user's own when None."""
    _token: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """Where the API and the pages are."""
        return f"https://{self.stack.installation.address('airflow-api')}"

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the API; return its answer, parsed."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._login()}"}
        return self._send(method, f"/api/v2/{path}", body, headers)

    def command(self, *words: str) -> str:
        """Run Airflow's own command, as an operator does."""
        return self.stack.run("stack", "airflow", *words)

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run by hand; return its id."""
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self.ask("POST", f"dags/{dag}/dagRuns", body)["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, the oldest first."""
        answer = self.ask("GET", f"dags/{dag}/dagRuns?limit=100&order_by=run_after")
        found: list[dict[str, Any]] = answer["dag_runs"]
        return found

    def backfills(self, dag: str) -> list[dict[str, Any]]:
        """Return the backfills of a DAG."""
        found: list[dict[str, Any]] = self.ask("GET", f"backfills?dag_id={dag}")["backfills"]
        return found

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """Return a run."""
        found: dict[str, Any] = self.ask("GET", f"dags/{dag}/dagRuns/{urllib.parse.quote(run)}")
        return found

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        path = f"dags/{dag}/dagRuns/{urllib.parse.quote(run)}/taskInstances?limit=200"
        found: list[dict[str, Any]] = self.ask("GET", path)["task_instances"]
        return found

    def states(self, dag: str, run: str) -> dict[str, set[str]]:
        """Return by task the states of its instances."""
        found: dict[str, set[str]] = {}
        for task in self.tasks(dag, run):
            found.setdefault(task["task_id"], set()).add(str(task["state"]))
        return found

    def wait_for(self, dag: str, runs: Sequence[str], *, seconds: float = RUN_SECONDS) -> set[str]:
        """Wait until runs are over; return the states that they ended in."""
        deadline = time.monotonic() + seconds
        while not (ended := {self.run(dag, run)["state"] for run in runs}) <= OVER:
            assert time.monotonic() < deadline, self.story(dag, runs)
            time.sleep(self.stack.poll_seconds)
        return ended

    def story(self, dag: str, runs: Sequence[str]) -> str:
        """Return how far runs are, task by task, for whoever reads a failed test."""
        return "\n".join(f"{run}: {self.states(dag, run)}" for run in runs)

    def run_of(self, dag: str, start: datetime) -> str | None:
        """Return the run whose data interval begins at a time, if there is one."""
        for run in self.runs(dag):
            at = run["data_interval_start"]
            if at and datetime.fromisoformat(at) == start:
                return str(run["dag_run_id"])
        return None

    def begun(self, dag: str, start: datetime) -> str:
        """Wait for the run whose data interval begins at a time; return it."""
        self.stack.wait_until(
            lambda: self.run_of(dag, start) is not None,
            f"{dag} has begun for {start}",
            deadline_seconds=RUN_SECONDS,
        )
        return str(self.run_of(dag, start))

    def wait_for_task(self, dag: str, run: str, task: str) -> None:
        """Wait until an instance of a task has ended well."""
        self.stack.wait_until(
            lambda: "success" in self.states(dag, run).get(task, set()),
            f"{task} of {run}",
            deadline_seconds=RUN_SECONDS,
        )

    def _login(self) -> str:
        if not self._token:
            secret = self.stack.settings.home / "secrets" / f"airflow-{self.user}"
            body = {"username": self.user, "password": self.password or secret.read_text()}
            answer = self._send("POST", "/auth/token", body, {"Content-Type": "application/json"})
            self._token = answer["access_token"]
        return self._token

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Any:
        request = urllib.request.Request(
            f"{self.address}{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers=dict(headers),
            method=method,
        )
        try:
            with urllib.request.urlopen(
                request, timeout=60, context=tls_context(self.stack.installation)
            ) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from error

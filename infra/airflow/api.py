"""Airflow's REST API, as a program asks it for one of its users: what the stack's checks go by."""

import json
import ssl
import time
import urllib.error
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from lakehouse.errors import LakehouseError

# The DAG that the checks are about, and what it may take for an hour on a machine that is at work.
HOURLY = "hourly_lambda"
RUN_SECONDS = 900.0
ANSWER_SECONDS = 60.0
# A question takes its share of the cores from what it waits for.
LOOK_SECONDS = 2.0
OVER = {"success", "failed"}
JSON = {"Content-Type": "application/json"}


class AirflowApiError(LakehouseError):
    """Airflow refuses what it is asked, or does not get there in time."""


class AirflowApi:
    """The API of an Airflow, and its pages.

    Args:
        address: ``https://host:port``.
        user: Whom it is asked for.
        password: The user's own.
        context: Whom to trust.
    """

    def __init__(self, address: str, user: str, password: str, context: ssl.SSLContext) -> None:
        self.address = address
        self._login = {"username": user, "password": password}
        self._context = context
        self._token = ""

    def page(self) -> str:
        """Return what a browser is given first."""
        return self._send("GET", "/").decode()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the API; return its answer, parsed.

        Raises:
            AirflowApiError: It refuses, or does not know the user.
        """
        if not self._token:
            known = self._send("POST", "/auth/token", self._login)
            self._token = json.loads(known)["access_token"]
        headers = {"Authorization": f"Bearer {self._token}"}
        return json.loads(self._send(method, f"/api/v2/{path}", body, headers) or b"null")

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run by hand; return its id."""
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self.ask("POST", f"dags/{dag}/dagRuns", body)["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, the oldest first."""
        answer = self.ask("GET", f"dags/{dag}/dagRuns?limit=100&order_by=run_after")
        found: list[dict[str, Any]] = answer["dag_runs"]
        return found

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """Return a run."""
        found: dict[str, Any] = self.ask("GET", f"dags/{dag}/dagRuns/{quote(run)}")
        return found

    def run_of(self, dag: str, start: datetime) -> str | None:
        """Return the run whose data interval begins at a time, if there is one."""
        for run in self.runs(dag):
            at = run["data_interval_start"]
            if at and datetime.fromisoformat(at) == start:
                return str(run["dag_run_id"])
        return None

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        answer = self.ask("GET", f"dags/{dag}/dagRuns/{quote(run)}/taskInstances?limit=200")
        found: list[dict[str, Any]] = answer["task_instances"]
        return found

    def states(self, dag: str, run: str) -> dict[str, set[str]]:
        """Return by task the states of its instances."""
        found: dict[str, set[str]] = {}
        for task in self.tasks(dag, run):
            found.setdefault(task["task_id"], set()).add(str(task["state"]))
        return found

    def story(self, dag: str, runs: Sequence[str]) -> str:
        """Return how far runs are, task by task, for whoever reads what went wrong."""
        return "\n".join(f"{run}: {self.states(dag, run)}" for run in runs)

    def backfills(self, dag: str) -> list[dict[str, Any]]:
        """Return the backfills of a DAG."""
        found: list[dict[str, Any]] = self.ask("GET", f"backfills?dag_id={dag}")["backfills"]
        return found

    def begun(self, dag: str, start: datetime, *, seconds: float = RUN_SECONDS) -> str:
        """Wait for the run whose data interval begins at a time; return it."""
        story = f"a run of {dag} for {start}"
        self._wait(lambda: self.run_of(dag, start) is not None, lambda: story, seconds)
        return str(self.run_of(dag, start))

    def wait_for(self, dag: str, runs: Sequence[str], *, seconds: float = RUN_SECONDS) -> set[str]:
        """Wait until runs are over; return the states that they ended in."""
        ended: set[str] = set()

        def are_over() -> bool:
            ended.clear()
            ended.update(self.run(dag, run)["state"] for run in runs)
            return ended <= OVER

        self._wait(are_over, lambda: self.story(dag, runs), seconds)
        return ended

    def over_again(self, dag: str, run: str, *, seconds: float = RUN_SECONDS) -> set[str]:
        """Wait until a backfill has taken a run that was over, and is over; return how it ended."""
        self._wait(
            lambda: (
                self.run(dag, run)["run_type"] == "backfill"
                # The scheduler closes a backfill after its last run; until then there is no other.
                and all(one["completed_at"] for one in self.backfills(dag))
            ),
            lambda: f"the backfill of {self.story(dag, [run])}",
            seconds,
        )
        return self.wait_for(dag, [run], seconds=seconds)

    def _wait(self, reached: Callable[[], bool], story: Callable[[], str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                raise AirflowApiError(f"not within {seconds:.0f} s: {story()}")
            time.sleep(LOOK_SECONDS)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        data = json.dumps(body).encode() if body is not None else None
        request = Request(f"{self.address}{path}", data, {**JSON, **(headers or {})}, method=method)
        try:
            with urlopen(request, timeout=ANSWER_SECONDS, context=self._context) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            refusal = error.read().decode(errors="replace")
            raise AirflowApiError(f"{method} {path}: {error.code} {refusal}") from error

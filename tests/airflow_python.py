"""The DAGs as the Python of Airflow's own environment sees them; no server of it runs."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lakehouse.distributions import distribution
from lakehouse.infra import dags_folder, infra_file
from lakehouse.settings import Settings

# The hour at which the sample begins.
FIRST_HOUR = "2024-08-08T23:00:00+00:00"


class AskError(AssertionError):
    """A question has no answer."""


class Dags:
    """Asks `describe_dags.py`, which runs in the Python of Airflow's environment."""

    def __init__(self, home: Path, **environ: str) -> None:
        folder = dags_folder()
        self._process = subprocess.Popen(
            [
                distribution(Settings(), "airflow") / "bin" / "python",
                Path(__file__).parent / "dags" / "describe_dags.py",
            ],
            env=os.environ
            | {
                "AIRFLOW_HOME": str(home),
                "AIRFLOW_CONFIG": str(infra_file("airflow/airflow.cfg")),
                "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
                "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
                "LAKEHOUSE_FIRST_HOUR": FIRST_HOUR,
            }
            | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(home / "airflow.log").open("ab"),
            text=True,
        )

    def ask(self, name: str, **about: Any) -> Any:
        """Return the answer to a question."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"ask": name, **about}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise AskError(answer["error"])
        return answer["answer"]

    def run(self, dag: str, conf: dict[str, Any] | None = None, **run: str) -> dict[str, Any]:
        """Return what the tasks of a run would do."""
        found: dict[str, Any] = self.ask("run", dag=dag, conf=conf or {}, run=run)
        return found

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

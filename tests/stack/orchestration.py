"""The stack's Airflow, as a person or a program asks it: over its REST API, and by its command."""

from stack.running import RunningStack

from infra.airflow.api import RUN_SECONDS, AirflowApi
from lakehouse.stack.http import tls_context


class Airflow(AirflowApi):
    """The API of a running stack's Airflow, as one of its users.

    Args:
        stack: Whose.
        user: As whom.
        password: The user's own when None.
    """

    def __init__(
        self, stack: RunningStack, user: str = "admin", password: str | None = None
    ) -> None:
        super().__init__(
            f"https://{stack.installation.address('airflow-api')}",
            user,
            password or (stack.settings.home / "secrets" / f"airflow-{user}").read_text(),
            tls_context(stack.installation),
        )
        self.stack = stack

    def command(self, *words: str) -> str:
        """Run Airflow's own command, as an operator does."""
        return self.stack.run("stack", "airflow", *words)

    def wait_for_task(self, dag: str, run: str, task: str) -> None:
        """Wait until an instance of a task has ended well."""
        self.stack.wait_until(
            lambda: "success" in self.states(dag, run).get(task, set()),
            f"{task} of {run}",
            deadline_seconds=RUN_SECONDS,
        )

"""The compose command on the check's own project, and the container engine's command."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from lakehouse.distributions import distribution
from lakehouse.errors import LakehouseError
from lakehouse.infra import CHECKOUT
from lakehouse.settings import get_settings

PROJECT = "lakehouse-check"


class CheckFailedError(LakehouseError):
    """The stack did not come up, or its loop did not do what it must."""


class Engine:
    """The compose command on this project, and the engine's own.

    Args:
        profiles: What of the compose file there is.
        environ: What it is told beside the variables that there are.
    """

    def __init__(self, profiles: Sequence[str], environ: Mapping[str, str]) -> None:
        words = [word for profile in profiles for word in ("--profile", profile)]
        self._compose = [*_compose_command(), "--project-name", PROJECT, *words]
        self._environ = os.environ | environ

    def compose(self, *words: str, seconds: float | None = None) -> str:
        """Run a compose command; return what it prints.

        Raises:
            CheckFailedError: It failed; what it said is on the screen.
        """
        return self._answer([*self._compose, *words], seconds)

    def run(self, service: str, *words: str) -> str:
        """Run one of the services that are run by hand."""
        return self.compose("run", "--rm", "--no-TTY", service, *words)

    def within(self, service: str, *words: str) -> str:
        """Run a command in a service's container."""
        return self.compose("exec", "--no-TTY", service, *words)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask Trino, as a program of the serving layer does."""
        rows: list[dict[str, Any]] = json.loads(self.run("sql", sql, "--json"))
        return rows

    def containers(self) -> list[dict[str, Any]]:
        """Return the project's containers, with state and health."""
        told = self.compose("ps", "--all", "--format", "json")
        return [json.loads(line) for line in told.splitlines()]

    def memory(self) -> dict[str, str]:
        """Return by container the memory that it takes, of its limit."""
        form = "{{.Name}}\t{{.MemUsage}}"
        told = self._answer(["docker", "stats", "--no-stream", "--format", form])
        return dict(line.split("\t") for line in told.splitlines())

    def versions(self) -> str:
        """Return the versions of the engine and of the compose command."""
        engine = self._answer(["docker", "version", "--format", "{{.Server.Version}}"]).strip()
        return f"engine {engine}, compose {self.compose('version', '--short').strip()}"

    def _answer(self, argv: Sequence[str], seconds: float | None = None) -> str:
        done = subprocess.run(
            argv,
            cwd=CHECKOUT,
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=seconds,
        )
        if done.returncode != 0:
            words = " ".join(argv)
            raise CheckFailedError(f"`{words}` failed with {done.returncode}:\n{done.stdout}")
        return done.stdout


def _compose_command() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return [str(distribution(get_settings(), "compose") / "bin" / "docker-compose")]

"""A Prometheus of a test's own, and what can be asked of one."""

import json
import math
import shutil
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def tool(name: str) -> str:
    """Return the path of ``prometheus``, ``promtool`` or ``amtool``."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not on the PATH (Debian: prometheus, prometheus-alertmanager)")
    return found


@dataclass(frozen=True)
class Prometheus:
    """A running one, by its address."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """Ask the API for something."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the samples of a query that are numbers."""
        found = self.get("query", query=expr)["result"]
        return [sample for sample in found if not math.isnan(float(sample["value"][1]))]

    def jobs(self) -> set[str]:
        """Return the jobs that answer."""
        return {sample["metric"]["job"] for sample in self.query("up == 1")}

    def is_ready(self) -> bool:
        """Whether it has read its configuration and answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                ready: bool = answer.status == 200
        except OSError:
            return False
        return ready


def argv(config: Path, data: Path, port: int) -> list[str]:
    """Return the command of a Prometheus."""
    return [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

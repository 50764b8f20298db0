"""A Prometheus of a test's own, and what can be asked of one."""

import json
import math
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from lakehouse.distributions import distribution
from lakehouse.settings import get_settings


def tool(name: str) -> str:
    """Return the path of ``promtool``, ``amtool`` or ``alertmanager``."""
    server = {"promtool": "prometheus"}.get(name, "alertmanager")
    return str(distribution(get_settings(), server) / "bin" / name)


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

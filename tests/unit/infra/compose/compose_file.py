"""What docker-compose.yml says, as the tests of this folder ask it."""

import re
from pathlib import Path
from typing import Any

from lakehouse.infra import CHECKOUT

Service = dict[str, Any]

HOME = "/var/lib/lakehouse"
BY_HAND = {"produce", "files", "sql", "customers", "erase"} | {
    *("batch", "reconcile", "backfill", "rebuild", "maintain"),
}
AIRFLOW = {"airflow-api", "airflow-scheduler", "airflow-dags", "airflow-triggerer"}
OFFICIAL = {"grafana", "jaeger", "loki", "logs"}
# In a container, and not as a component of the native stack.
ONLY_IN_CONTAINERS = {"init"} | BY_HAND | OFFICIAL
# By volume that several services have, who may write it; the others read.
SHARED = {
    **{volume: {"init"} for volume in ("tls", "secrets", "roles")},
    "keys": {"produce", "commands", "customers", "erase", "airflow-scheduler"},
    "drop": {"files", "airflow-scheduler", "airflow-triggerer"},
    "airflow": {*AIRFLOW},
}


def mib(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([mg])", text).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "g" else 1)


def memory_of(service: Service) -> int:
    return mib(service["deploy"]["resources"]["limits"]["memory"])


def mounts(service: Service) -> list[tuple[str | None, str, bool]]:
    """Source, target, and whether it can only be read."""
    found = []
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target, *rest = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")
            found.append((source, target, rest == ["ro"]))
        else:
            found.append((volume.get("source"), volume["target"], volume.get("read_only", False)))
    return found


def dockerfile() -> str:
    return Path(CHECKOUT, "infra", "images", "Dockerfile").read_text()

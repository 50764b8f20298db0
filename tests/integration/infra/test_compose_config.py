"""The compose command itself accepts docker-compose.yml, in every profile; no engine is needed."""

import json
import os
import subprocess
from typing import Any

import pytest

from lakehouse.distributions import distribution
from lakehouse.infra import CHECKOUT
from lakehouse.settings import Settings

pytestmark = pytest.mark.stack

CORE = {
    *("init", "postgresql", "minio", "kafka", "registry", "tables", "land", "speed", "trino"),
    *("views", "metrics", "spark-master", "spark-worker-1", "spark-worker-2"),
    *("live", "api", "commands"),
}
ORCHESTRATION = {
    *("airflow-api", "airflow-scheduler", "airflow-dags", "airflow-triggerer", "spark-drivers"),
}
OBSERVABILITY = {
    *("alertmanager", "prometheus", "postgresql-exporter"),
    *("grafana", "jaeger", "loki", "logs"),
}
BY_HAND = {"produce", "files", "sql", "customers", "erase"} | {
    *("batch", "reconcile", "backfill", "rebuild", "maintain"),
}


def config(settings: Settings, *words: str) -> str:
    command = distribution(settings, "compose") / "bin" / "docker-compose"
    environ = {name: value for name, value in os.environ.items() if "COMPOSE" not in name}
    done = subprocess.run(
        [command, *words],
        cwd=CHECKOUT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("profiles", "services"),
    [
        ((), CORE | ORCHESTRATION),
        (("orchestration",), CORE | ORCHESTRATION),
        (("core",), CORE),
        (("ml",), CORE | {"mlflow"}),
        (("observability",), CORE | OBSERVABILITY),
        (("ml", "observability"), CORE | OBSERVABILITY | {"mlflow"}),
        (("*",), CORE | ORCHESTRATION | OBSERVABILITY | BY_HAND | {"mlflow"}),
    ],
)
def test_a_profile_is_accepted_and_brings_up(
    settings: Settings, profiles: tuple[str, ...], services: set[str]
) -> None:
    words = [word for profile in profiles for word in ("--profile", profile)]
    config(settings, *words, "config", "--quiet")
    assert set(config(settings, *words, "config", "--services").split()) == services


def test_what_is_merged_from_fragments_is_what_was_meant(settings: Settings) -> None:
    told: dict[str, Any] = json.loads(config(settings, "config", "--format", "json"))
    speed = told["services"]["speed"]
    assert speed["deploy"]["resources"]["limits"]["memory"] == str(1664 << 20)
    assert speed["depends_on"]["tables"]["condition"] == "service_completed_successfully"
    assert speed["stop_grace_period"] == "35s"
    assert speed["logging"]["options"]["tag"] == "{{.Name}}"
    assert told["networks"]["storage"]["internal"] is True
    scheduler, drivers = told["services"]["airflow-scheduler"], told["services"]["spark-drivers"]
    assert "ports" not in scheduler
    assert {*drivers["depends_on"]} == {"init", "spark-master"}
    # Only who sets a first hour passes one on.
    assert not {name for name in scheduler["environment"] if name.endswith("_HOUR")}

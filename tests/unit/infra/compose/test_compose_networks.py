"""Who can reach whom, and who is to be had from outside."""

import re
from typing import Any, get_args

import pytest
from compose_file import Service

from lakehouse.settings import Role
from lakehouse.stack.installation import PORTS

# Which layer's network each service is in, and so who may know whom by name.
NETWORKS = {
    "init": set(),
    "postgresql": {"storage"},
    "postgresql-exporter": {"storage"},
    "minio": {"compute", "storage"},
    "kafka": {"compute", "ingest"},
    "registry": {"ingest", "storage"},
    "tables": {"ingest", "storage"},
    "land": {"ingest", "storage"},
    "live": {"ingest", "storage"},
    "commands": {"ingest", "storage"},
    "produce": {"ingest"},
    "files": {"storage"},
    "spark-master": {"compute"},
    "spark-worker-1": {"compute"},
    "spark-worker-2": {"compute"},
    "spark-drivers": {"compute", "storage"},
    "airflow-api": {"serving", "storage"},
    "airflow-scheduler": {"compute", "serving", "storage"},
    "airflow-dags": {"serving", "storage"},
    "airflow-triggerer": {"compute", "serving", "storage"},
    "speed": {"compute", "ingest", "storage"},
    "batch": {"compute", "ingest", "storage"},
    "reconcile": {"compute", "ingest", "storage"},
    "backfill": {"compute", "ingest", "storage"},
    "rebuild": {"compute", "ingest", "storage"},
    "maintain": {"compute", "ingest", "storage"},
    "trino": {"serving", "storage"},
    "views": {"serving"},
    "metrics": {"ingest", "serving", "storage"},
    "api": {"ingest", "serving", "storage"},
    "sql": {"serving"},
    "customers": {"storage"},
    "erase": {"storage"},
    "mlflow": {"serving", "storage"},
    "alertmanager": {"serving"},
    "prometheus": {"compute", "ingest", "serving", "storage"},
    "grafana": {"serving"},
    "jaeger": {"compute", "ingest", "serving"},
    "loki": {"serving"},
    "logs": {"serving"},
}
# A way from one to the other must not exist.
APART = [
    ("grafana", "minio"),
    ("grafana", "postgresql"),
    ("grafana", "kafka"),
    ("sql", "minio"),
    ("sql", "postgresql"),
    ("sql", "kafka"),
    ("sql", "spark-master"),
    ("produce", "minio"),
    ("produce", "postgresql"),
    ("produce", "spark-master"),
    ("produce", "trino"),
    ("land", "spark-master"),
    ("land", "grafana"),
    ("live", "spark-master"),
    ("live", "grafana"),
    ("commands", "spark-master"),
    ("commands", "grafana"),
    ("api", "spark-master"),
    ("trino", "kafka"),
    ("trino", "spark-master"),
    ("mlflow", "kafka"),
    ("spark-master", "postgresql"),
    ("spark-worker-1", "postgresql"),
    ("spark-worker-1", "registry"),
    ("spark-worker-1", "trino"),
    ("airflow-api", "kafka"),
    ("airflow-api", "spark-master"),
    ("airflow-dags", "spark-master"),
]
EXECUTORS_ASK = {"spark-master", "kafka", "minio", "speed", "batch", "spark-drivers"}
# What each component asks, natively at an address of this machine.
ASKS = {
    "postgresql-exporter": {"postgresql"},
    "registry": {"postgresql"},
    "tables": {"postgresql", "minio", "registry"},
    "land": {"kafka", "registry", "postgresql", "minio", "jaeger"},
    "live": {"kafka", "registry", "postgresql", "minio", "jaeger"},
    "commands": {"kafka", "postgresql", "minio", "jaeger"},
    "produce": {"kafka", "registry"},
    "files": {"postgresql", "minio"},
    "spark-worker-1": EXECUTORS_ASK | {"spark-worker-2"},
    "spark-worker-2": EXECUTORS_ASK | {"spark-worker-1"},
    "spark-drivers": {"registry", "postgresql", "minio", "spark-master", "jaeger"},
    "airflow-api": {"postgresql"},
    # What the verbs of its tasks ask, and the pages that have a driver's state and its log.
    "airflow-scheduler": {
        *("airflow-api", "postgresql", "minio", "kafka", "registry", "trino", "alertmanager"),
        *("spark-master", "spark-drivers"),
    },
    "airflow-dags": {"airflow-api", "postgresql", "alertmanager"},
    "airflow-triggerer": {
        *("airflow-api", "postgresql", "minio", "alertmanager", "spark-master", "spark-drivers"),
    },
    "speed": {"kafka", "registry", "postgresql", "minio", "spark-master", "jaeger"},
    "batch": {"registry", "postgresql", "minio", "spark-master", "jaeger"},
    "reconcile": {"postgresql", "minio", "spark-master", "jaeger"},
    "backfill": {"registry", "postgresql", "minio", "spark-master", "jaeger"},
    "rebuild": {"registry", "postgresql", "minio", "spark-master"},
    "maintain": {"postgresql", "minio", "jaeger"},
    "trino": {"postgresql", "minio"},
    "views": {"trino"},
    "sql": {"trino"},
    "customers": {"postgresql", "minio"},
    "erase": {"postgresql", "minio"},
    "metrics": {"kafka", "postgresql", "minio"},
    "api": {"kafka", "registry", "postgresql", "minio", "trino", "mlflow", "jaeger"},
    "mlflow": {"postgresql", "minio"},
    "prometheus": {
        *("alertmanager", "kafka", "land", "metrics", "minio", "postgresql-exporter"),
        *("api", "commands", "live"),
        *("registry", "speed", "jaeger", "loki"),
        *("spark-master", "spark-worker-1", "spark-worker-2", "trino"),
    },
    "grafana": {"prometheus", "loki", "jaeger"},
    "logs": {"loki"},
}


def test_each_service_is_in_the_networks_of_its_table(services: dict[str, Service]) -> None:
    found = {name: set(service.get("networks", [])) for name, service in services.items()}
    assert found == NETWORKS
    assert services["init"]["network_mode"] == "none"


def test_whoever_asks_somebody_has_a_network_with_them() -> None:
    lost = [
        f"{who} → {whom}"
        for who, asked in ASKS.items()
        for whom in asked
        if not NETWORKS[who] & NETWORKS[whom]
    ]
    assert lost == []


def test_executors_have_no_way_but_to_data_and_to_drivers() -> None:
    assert NETWORKS["spark-worker-1"] == NETWORKS["spark-worker-2"] == {"compute"}


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_has_no_business_with_each_other_has_no_network_in_common(
    one: str, other: str
) -> None:
    assert not NETWORKS[one] & NETWORKS[other]


def test_storage_and_compute_have_no_way_out(compose: dict[str, Any]) -> None:
    assert compose["networks"] == {
        "ingest": {},
        "storage": {"internal": True},
        "compute": {"internal": True},
        "serving": {},
    }


def test_what_is_published_is_on_the_loopback_at_its_usual_port(
    services: dict[str, Service],
) -> None:
    usual = PORTS | {"grafana": 3000, "jaeger": 16686}
    published = {}
    for name, service in services.items():
        for port in service.get("ports", []):
            host, inside = re.fullmatch(
                r"127\.0\.0\.1:\$\{PUBLISH_[A-Z]+:-(\d+)\}:(\d+)", port
            ).groups()  # type: ignore[union-attr]
            assert int(host) == int(inside) == usual[name], name
            published[name] = int(host)
    # What people ask. Log, tables and Spark are not to be had from outside.
    assert set(published) == {
        *("trino", "api", "airflow-api", "mlflow"),
        *("grafana", "prometheus", "alertmanager", "jaeger"),
    }


def test_every_role_of_the_settings_is_known_here() -> None:
    """A new role may need a place in the tables above."""
    assert set(get_args(Role)) == {
        *("operator", "ingest", "batch", "speed", "serving", "orchestration"),
    }

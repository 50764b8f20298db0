"""docker-compose.yml runs what the native stack runs, component by component."""

import re
from pathlib import Path

import yaml
from compose_file import AIRFLOW, BY_HAND, OFFICIAL, ONLY_IN_CONTAINERS, Service
from cryptography import x509

from infra.compose.check import ASKED_BY_OTHERS
from lakehouse.components import Component
from lakehouse.infra import CHECKOUT, infra_file
from lakehouse.settings import Settings
from lakehouse.stack import api, minio, mlflow, profile, prometheus, spark
from lakehouse.stack.certificates import Authority

# What a service waits for that its component does not come after, beside `init`.
MORE_TO_WAIT_FOR = {"metrics": {"views"}}


def test_every_component_is_a_service_and_every_service_is_accounted_for(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    assert set(services) == set(native) | ONLY_IN_CONTAINERS


def test_a_server_runs_the_component_of_its_name(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, component in native.items():
        if component.launch is not None:
            assert services[name]["command"] == ["stack", "run", name]
            assert services[name]["healthcheck"]["test"] == ["CMD", "healthy", name]
    # Tasks run the verbs that `lakehouse up` runs.
    tasks = {name for name, component in native.items() if component.launch is None}
    assert {name: services[name]["command"] for name in tasks} == {
        "tables": ["schemas", "apply"],
        "views": ["views", "apply"],
    }


def test_a_service_waits_for_what_its_component_comes_after(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, component in native.items():
        waits = services[name]["depends_on"]
        assert set(waits) == {"init", *component.after} | MORE_TO_WAIT_FOR.get(name, set()), name
        for before, how in waits.items():
            ends = before == "init" or native[before].launch is None
            expected = "service_completed_successfully" if ends else "service_healthy"
            assert how == {"condition": expected}, (name, before)


def test_no_server_is_called_unhealthy_while_it_may_still_be_starting(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, component in native.items():
        if component.launch is not None:
            period = services[name]["healthcheck"]["start_period"]
            assert float(period.removesuffix("s")) > component.deadline_seconds, name


def test_a_server_is_checked_in_its_container_or_by_another(
    services: dict[str, Service],
) -> None:
    unchecked = {
        name: service
        for name, service in services.items()
        if service["restart"] != "no" and "healthcheck" not in service
    }
    assert unchecked.keys() == ASKED_BY_OTHERS.keys()
    for name, (neighbour, url) in ASKED_BY_OTHERS.items():
        assert set(services[name]["networks"]) & set(services[neighbour]["networks"])
        assert "wget" in services[neighbour]["healthcheck"]["test"]
        assert url.startswith(f"http://{name}:")
    told = yaml.safe_load(infra_file("fluent-bit/fluent-bit.yml").read_text())["service"]
    assert told["http_server"] is told["health_check"] is True
    assert f":{told['http_port']}/" in ASKED_BY_OTHERS["logs"][1]


def test_jaeger_listens_where_it_is_asked(services: dict[str, Service]) -> None:
    told = yaml.safe_load(infra_file("jaeger/jaeger.yml").read_text())
    spans = told["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert (
        spans.rpartition(":")[2]
        == services["land"]["environment"]["LAKEHOUSE_OTLP_ENDPOINT"].rstrip("}").rpartition(":")[2]
    )
    health = told["extensions"]["healthcheckv2"]["http"]["endpoint"]
    assert f"http://{health}/status" in services["jaeger"]["healthcheck"]["test"]


def test_prometheus_asks_jaeger_and_loki_where_they_tell_it() -> None:
    jaeger = yaml.safe_load(infra_file("jaeger/jaeger.yml").read_text())["service"]["telemetry"]
    (reader,) = jaeger["metrics"]["readers"]
    loki = yaml.safe_load(infra_file("loki/loki.yml").read_text())["server"]
    assert {
        "jaeger": [f"jaeger:{reader['pull']['exporter']['prometheus']['port']}"],
        "loki": [f"loki:{loki['http_listen_port']}"],
    } == prometheus.IN_CONTAINERS


def test_what_a_service_is_told_is_a_setting(services: dict[str, Service]) -> None:
    known = {f"LAKEHOUSE_{field.upper()}" for field in Settings.model_fields}
    for name, service in services.items():
        told = set(service.get("environment", {}))
        assert told <= known if name not in OFFICIAL else not told & known, name


def test_what_traces_its_work_is_told_where_to_send_it(services: dict[str, Service]) -> None:
    told = {
        name: service["environment"]["LAKEHOUSE_OTLP_ENDPOINT"]
        for name, service in services.items()
        if "LAKEHOUSE_OTLP_ENDPOINT" in service.get("environment", {})
    }
    assert told == dict.fromkeys(
        (
            *("land", "speed", "live", "commands", "api"),
            *("spark-drivers", "batch", "reconcile", "backfill", "maintain"),
        ),
        "${LAKEHOUSE_OTLP_ENDPOINT:-http://jaeger:4318}",
    )


def test_every_server_that_is_not_ours_has_its_configuration_in_infra(
    services: dict[str, Service],
) -> None:
    ours = {*profile.OWN, api.NAME}
    elsewhere = {
        "registry": "apicurio",
        "logs": "fluent-bit",
        **dict.fromkeys((spark.MASTER, *spark.WORKERS, spark.DRIVERS), "spark"),
        **dict.fromkeys(AIRFLOW, "airflow"),
    }
    for name, service in services.items():
        if service["restart"] != "no" and name not in ours:
            assert any((CHECKOUT / "infra" / elsewhere.get(name, name)).iterdir()), name


def test_grafana_has_no_user_and_no_way_to_be_one(services: dict[str, Service]) -> None:
    told = {
        name: value for name, value in services["grafana"]["environment"].items() if "GF_" in name
    }
    assert told["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    # To hide the form alone would leave admin/admin to whoever asks by HTTP's basic authentication.
    assert told["GF_AUTH_BASIC_ENABLED"] == "false"
    assert told["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert told["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_mlflow_answers_to_the_names_that_its_certificate_holds_for(tmp_path: Path) -> None:
    signed = Authority(tmp_path).certificate(mlflow.NAME).certificate.read_bytes()
    names = x509.load_pem_x509_certificate(signed).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    hosts = {str(name.value) for name in names.value}
    told = re.search(
        r"^MLFLOW_SERVER_ALLOWED_HOSTS=(.*)$", infra_file("mlflow/mlflow.env").read_text(), re.M
    )
    assert told is not None
    assert set(told[1].split(",")) == {*hosts, *(f"{host}:*" for host in hosts)}


def test_mlflow_keeps_models_in_the_bucket_that_is_made_for_them() -> None:
    told = infra_file("mlflow/mlflow.env").read_text()
    assert f"\nMLFLOW_ARTIFACTS_DESTINATION=s3://{minio.MODELS_BUCKET}\n" in told


def test_profiles(services: dict[str, Service], native: dict[str, Component]) -> None:
    by_hand = {name for name, service in services.items() if service["profiles"] == ["by-hand"]}
    assert by_hand == BY_HAND
    ml = {name for name, service in services.items() if service["profiles"] == ["ml"]}
    assert ml == {"mlflow"}
    orchestrating = {
        name for name, service in services.items() if service["profiles"] == ["orchestration"]
    }
    assert orchestrating == {*AIRFLOW, spark.DRIVERS}
    everywhere = ["core", "orchestration", "ml", "observability"]
    core = {name for name, service in services.items() if service["profiles"] == everywhere}
    observing = {"prometheus", "alertmanager", "postgresql-exporter"}
    assert core == set(native) - {"mlflow", *observing, *orchestrating} | {"init"}
    assert "COMPOSE_PROFILES=orchestration\n" in (CHECKOUT / ".env").read_text()

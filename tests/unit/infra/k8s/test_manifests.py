"""What is rendered for Kubernetes beside Kubernetes' own schemas, and beside the compose file."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from infra.k8s.render import LEFT_OUT, render
from lakehouse.infra import CHECKOUT

Manifest = dict[str, Any]

VERSION = "1.33"
PROFILES = ("core", "orchestration", "ml", "observability")


@pytest.fixture(scope="module")
def compose() -> Manifest:
    loaded: Manifest = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: Manifest) -> dict[str, Manifest]:
    return {
        name: service
        for name, service in compose["services"].items()
        if {*service["profiles"]} & {*PROFILES} and name not in LEFT_OUT
    }


@pytest.fixture(scope="module")
def manifests(compose: Manifest) -> list[Manifest]:
    return list(render(compose, profiles=PROFILES, registry="registry.example.org/"))


@pytest.fixture(scope="module")
def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in manifests
        if manifest["kind"] in ("StatefulSet", "Job")
    }


def container(pod: Manifest) -> Manifest:
    (only,) = pod["spec"]["containers"]
    found: Manifest = only
    return found


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def test_every_manifest_is_what_kubernetes_expects(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifests[-1] | {"spec": {"replicas": "two"}}, VERSION)


def test_what_runs_is_what_compose_runs(
    services: dict[str, Manifest], pods: dict[str, Manifest]
) -> None:
    assert {*pods} == {*services}
    for name, service in services.items():
        own = container(pods[name])
        assert own["image"].endswith(service["image"])
        assert own.get("args") == service.get("command")
        memory = service["deploy"]["resources"]["limits"]["memory"]
        assert own["resources"]["limits"]["memory"] == memory.replace("m", "Mi")
        if "healthcheck" in service:
            assert own["readinessProbe"]["exec"]["command"] == service["healthcheck"]["test"][1:]


def test_only_images_of_our_own_are_looked_for_in_our_registry(pods: dict[str, Manifest]) -> None:
    assert container(pods["kafka"])["image"] == "registry.example.org/lakehouse/kafka:0.1.0"
    assert container(pods["grafana"])["image"].startswith("grafana/grafana:")


def test_who_shares_a_network_may_reach_each_other_and_nobody_else(
    compose: Manifest,
    manifests: list[Manifest],
    services: dict[str, Manifest],
    pods: dict[str, Manifest],
) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    assert {*policies} == {*compose["networks"]}
    for network, policy in policies.items():
        members = policy["spec"]["podSelector"]["matchLabels"]
        (rule,) = policy["spec"]["ingress"]
        assert [one["podSelector"]["matchLabels"] for one in rule["from"]] == [members]
        labelled = {
            name
            for name, pod in pods.items()
            if members.items() <= pod["metadata"]["labels"].items()
        }
        assert labelled == {name for name, one in services.items() if network in one["networks"]}


def test_everything_that_is_mounted_is_mounted(
    services: dict[str, Manifest], pods: dict[str, Manifest]
) -> None:
    for name, service in services.items():
        wanted = {option.partition(":")[0] for option in service.get("tmpfs", [])}
        for volume in service.get("volumes", []):
            short = isinstance(volume, str)
            wanted.add(volume.split(":")[1] if short else volume["target"])
        if "shm_size" in service:
            wanted.add("/dev/shm")  # noqa: S108
        mounts = container(pods[name])["volumeMounts"]
        assert {mount["mountPath"] for mount in mounts} == wanted, name
        for mount in mounts:
            if mount["name"] in ("tls", "secrets", "roles"):
                assert mount["readOnly"] is True


def test_a_server_keeps_its_data(manifests: list[Manifest]) -> None:
    sets = of_kind(manifests, "StatefulSet")
    for name in ("postgresql", "minio", "kafka"):
        (claim,) = sets[name]["spec"]["volumeClaimTemplates"]
        (mount,) = (
            one
            for one in container(sets[name]["spec"]["template"])["volumeMounts"]
            if one["name"] == claim["metadata"]["name"]
        )
        assert mount["mountPath"] == f"/var/lib/lakehouse/{name}"


def test_what_several_write_is_one_claim_for_all_of_them(
    manifests: list[Manifest], pods: dict[str, Manifest]
) -> None:
    claims = of_kind(manifests, "PersistentVolumeClaim")
    assert {*claims} == {"airflow", "drop", "keys"}
    for name, claim in claims.items():
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        wanted = {"name": name, "persistentVolumeClaim": {"claimName": name}}
        assert wanted in pods["airflow-scheduler"]["spec"]["volumes"]
    assert "airflow" in {volume["name"] for volume in pods["airflow-api"]["spec"]["volumes"]}


def test_files_of_infra_are_given_as_they_are(manifests: list[Manifest]) -> None:
    maps = of_kind(manifests, "ConfigMap")
    assert maps["loki-0"]["data"] == {
        "loki.yml": (CHECKOUT / "infra" / "loki" / "loki.yml").read_text()
    }
    boards = {path.name for path in (CHECKOUT / "infra" / "grafana" / "dashboards").iterdir()}
    assert {*maps["grafana-1"]["data"]} == boards


def test_ours_run_as_nobody_in_particular_and_write_to_no_image(pods: dict[str, Manifest]) -> None:
    for name, pod in pods.items():
        rights = container(pod)["securityContext"]
        assert rights == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        if "lakehouse/" in container(pod)["image"]:
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_a_server_is_known_by_the_name_that_its_certificate_has(
    services: dict[str, Manifest], manifests: list[Manifest]
) -> None:
    found = of_kind(manifests, "Service")
    servers = {name for name, service in services.items() if service["restart"] != "no"}
    assert {*found} == servers
    ports = [port["port"] for port in found["kafka"]["spec"]["ports"]]
    assert ports == [9092, 9094, 9095, 9404]


def test_what_traces_its_work_is_told_where_to_send_it(pods: dict[str, Manifest]) -> None:
    for name in ("land", "speed"):
        told = {one["name"]: one.get("value") for one in container(pods[name])["env"]}
        assert told["LAKEHOUSE_OTLP_ENDPOINT"] == "http://jaeger:4318"

"""docker-compose.yml runs what the native stack runs: the two are compared, component by component.

Read as YAML: no compose command and no engine is needed. What the compose command itself says of
the file is in tests/integration/infra.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from lakehouse.components import Component
from lakehouse.infra import CHECKOUT
from lakehouse.settings import Role, Settings
from lakehouse.stack.foreground import WATCHER_MIB
from lakehouse.stack.installation import PORTS
from lakehouse.stack.profile import components

Service = dict[str, Any]

HOME = "/var/lib/lakehouse"
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
    "produce": {"ingest"},
    "spark-master": {"compute"},
    "spark-worker-1": {"compute"},
    "spark-worker-2": {"compute"},
    "speed": {"compute", "ingest", "storage"},
    "batch": {"compute", "ingest", "storage"},
    "reconcile": {"compute", "ingest", "storage"},
    "trino": {"serving", "storage"},
    "views": {"serving"},
    "metrics": {"ingest", "serving", "storage"},
    "sql": {"serving"},
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
    ("trino", "kafka"),
    ("trino", "spark-master"),
    ("mlflow", "kafka"),
    ("spark-master", "postgresql"),
    ("spark-worker-1", "postgresql"),
    ("spark-worker-1", "registry"),
    ("spark-worker-1", "trino"),
]
# What each component asks, natively at an address of this machine.
ASKS = {
    "postgresql-exporter": {"postgresql"},
    "registry": {"postgresql"},
    "tables": {"postgresql", "minio", "registry"},
    "land": {"kafka", "registry", "postgresql", "minio"},
    "produce": {"kafka", "registry"},
    "spark-worker-1": {"spark-master", "kafka", "minio", "speed", "batch", "spark-worker-2"},
    "spark-worker-2": {"spark-master", "kafka", "minio", "speed", "batch", "spark-worker-1"},
    "speed": {"kafka", "registry", "postgresql", "minio", "spark-master"},
    "batch": {"registry", "postgresql", "minio", "spark-master"},
    "reconcile": {"postgresql", "minio", "spark-master"},
    "trino": {"postgresql", "minio"},
    "views": {"trino"},
    "sql": {"trino"},
    "metrics": {"kafka", "postgresql", "minio"},
    "mlflow": {"postgresql", "minio"},
    "prometheus": {
        *("alertmanager", "kafka", "land", "metrics", "minio", "postgresql-exporter"),
        *("registry", "speed"),
        *("spark-master", "spark-worker-1", "spark-worker-2", "trino"),
    },
    "grafana": {"prometheus", "loki", "jaeger"},
    "logs": {"loki"},
}
# In a container, and not as a component of the native stack.
ONLY_IN_CONTAINERS = {"init", "batch", "reconcile", "produce", "sql"} | {
    *("grafana", "jaeger", "loki", "logs"),
}
OFFICIAL = {"grafana", "jaeger", "loki", "logs"}
# What a service waits for that its component does not come after, beside `init`.
MORE_TO_WAIT_FOR = {"metrics": {"views"}}
PRINTED_BUDGET_MIB = 12 * 1024
DATA = {
    "postgresql": "postgresql",
    "minio": "minio",
    "kafka": "kafka",
    "spark-master": "spark",
    "spark-worker-1": "spark",
    "spark-worker-2": "spark",
    "speed": "checkpoints",
    "trino": "trino",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
}
"""By component, the folder of its home that must outlive its container."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Component]:
    """The components as they are in containers."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), network="services")
    return {component.name: component for component in components(settings, {})}


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


def test_a_limit_is_what_the_component_may_take_and_what_watches_it(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, component in native.items():
        if component.launch is not None:
            assert memory_of(services[name]) == component.memory_mib + WATCHER_MIB, name


def test_the_core_keeps_to_the_budget_that_is_printed(services: dict[str, Service]) -> None:
    core = [s for s in services.values() if "core" in s["profiles"] and s["restart"] != "no"]
    assert sum(map(memory_of, core)) <= PRINTED_BUDGET_MIB


def test_a_stop_is_given_longer_than_the_component_takes(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, component in native.items():
        seconds = int(services[name]["stop_grace_period"].removesuffix("s"))
        assert seconds > component.grace_seconds


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
    assert set(published) == {"trino", "mlflow", "grafana", "prometheus", "alertmanager", "jaeger"}


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


def test_a_worker_has_one_address() -> None:
    """A worker listens at one only, so its name must be the same address for all who ask.

    A driver listens at all of its own, so it may be in more networks.
    """
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


def test_images_are_pinned(services: dict[str, Service]) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    for name, service in services.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.fullmatch(r"\d+\.\d+\.\d+", tag), name
        if name not in OFFICIAL:
            assert image.startswith("lakehouse/")
            assert tag == project["version"], name
    for line in dockerfile().splitlines():
        if line.startswith("FROM") and ":" in line:
            assert re.fullmatch(r"FROM \S+:\d+\.\d+\.\d+\S* AS \S+", line), line


def test_every_image_of_ours_is_built_once_from_a_stage_that_exists(
    services: dict[str, Service],
) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile(), re.MULTILINE))
    built: list[str] = []
    for name, service in services.items():
        if "build" in service:
            target = service["build"]["target"]
            assert service["image"].startswith(f"lakehouse/{target}:"), name
            assert service["build"]["dockerfile"] == "infra/images/Dockerfile"
            built.append(target)
    assert set(built) <= stages
    used = {
        s["image"].split(":")[0].split("/")[1] for n, s in services.items() if n not in OFFICIAL
    }
    assert sorted(built) == sorted(used)


def test_mounted_files_exist(services: dict[str, Service]) -> None:
    ours = [
        source
        for service in services.values()
        for source, _, _ in mounts(service)
        if source and source.startswith("./")
    ]
    assert ours
    assert [source for source in ours if not (CHECKOUT / source).exists()] == []


def test_data_are_in_volumes_of_their_own(
    compose: dict[str, Any], services: dict[str, Service], native: dict[str, Component]
) -> None:
    used: list[str] = []
    for name, service in services.items():
        for source, target, _ in mounts(service):
            if source and not source.startswith((".", "/")):
                assert source in compose["volumes"]
                if source not in ("tls", "secrets", "roles"):
                    used.append(source)
            if name in DATA and target == f"{HOME}/{DATA[name]}":
                assert source, f"{name}: what must outlive the container is in an unnamed volume"
    assert len(used) == len(set(used))
    for name, folder in DATA.items():
        assert f"{HOME}/{folder}" in [target for _, target, _ in mounts(services[name])], name
    # The image makes each folder, with the owner that a new volume takes over.
    made = {target for s in services.values() for _, target, _ in mounts(s) if HOME in target}
    for target in made:
        assert re.search(rf"\b{target.rpartition('/')[2]}\b", dockerfile()), target


def test_only_init_may_write_what_all_share_and_whoever_needs_it_can_read_it(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, service in services.items():
        for source, target, read_only in mounts(service):
            if source in ("tls", "secrets", "roles"):
                assert target == f"{HOME}/{source}"
                assert read_only is (name != "init"), (name, source)
    for name, component in native.items():
        shared = {source for source, _, _ in mounts(services[name])}
        if component.certificates:
            assert "tls" in shared, name
        assert ("secrets" in shared) == bool(component.secrets), name


def test_what_a_service_is_told_is_a_setting(services: dict[str, Service]) -> None:
    known = {f"LAKEHOUSE_{field.upper()}" for field in Settings.model_fields}
    for name, service in services.items():
        told = set(service.get("environment", {}))
        assert told <= known if name not in OFFICIAL else not told & known, name


def test_nothing_of_ours_has_more_rights_than_it_needs(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert "privileged" not in service
        assert "docker.sock" not in str(service)
    assert "\nUSER lakehouse\n" in dockerfile()


def test_every_service_is_limited_and_its_log_is(services: dict[str, Service]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        # An engine refuses more cores than the machine has; a laptop may have two.
        assert 0 < float(limits["cpus"]) <= 2, name
        assert memory_of(service) > 0
        assert service["logging"]["options"]["max-size"] == "10m"


def test_profiles(services: dict[str, Service], native: dict[str, Component]) -> None:
    by_hand = {name for name, service in services.items() if service["profiles"] == ["by-hand"]}
    assert by_hand == {"batch", "reconcile", "produce", "sql"}
    ml = {name for name, service in services.items() if service["profiles"] == ["ml"]}
    assert ml == {"mlflow"}
    core = {
        name for name, s in services.items() if s["profiles"] == ["core", "ml", "observability"]
    }
    observing = {"prometheus", "alertmanager", "postgresql-exporter"}
    assert core == set(native) - {"mlflow", *observing} | {"init"}
    assert "COMPOSE_PROFILES=core\n" in (CHECKOUT / ".env").read_text()


def test_what_fetching_imports_is_copied_into_the_stage_that_fetches() -> None:
    copied = re.findall(r"lakehouse/\w+\.py", dockerfile())
    folder = CHECKOUT / "lakehouse"
    needed: set[str] = set()
    waiting = [*(folder / "distributions").glob("*.py")]
    while waiting:
        imports = re.findall(
            r"^(?:from|import) (lakehouse(?:\.\w+)*)(?: import (\w+))?",
            waiting.pop().read_text(),
            re.MULTILINE,
        )
        for module, name in imports:
            for dotted in (module, f"{module}.{name}"):
                file = CHECKOUT / f"{dotted.replace('.', '/')}.py"
                if file.is_file() and file.parent == folder:
                    relative = str(file.relative_to(CHECKOUT))
                    if relative not in needed:
                        needed.add(relative)
                        waiting.append(file)
    assert sorted(copied) == sorted({*needed, "lakehouse/__init__.py"})


def test_every_role_of_the_settings_is_known_here() -> None:
    """A new role may need a place in the tables above."""
    assert set(get_args(Role)) == {
        *("operator", "ingest", "batch", "speed", "serving", "orchestration"),
    }


def dockerfile() -> str:
    return Path(CHECKOUT, "infra", "images", "Dockerfile").read_text()

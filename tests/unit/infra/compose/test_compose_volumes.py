"""Data outlive their containers, and secrets are shared by those who need them."""

import re
from typing import Any

from compose_file import AIRFLOW, HOME, SHARED, Service, dockerfile, mounts

from lakehouse.components import Component
from lakehouse.infra import CHECKOUT

DATA = {
    "postgresql": "postgresql",
    "minio": "minio",
    "kafka": "kafka",
    "spark-master": "spark",
    "spark-worker-1": "spark",
    "spark-worker-2": "spark",
    "spark-drivers": "spark",
    **dict.fromkeys(AIRFLOW, "airflow"),
    "speed": "checkpoints",
    "trino": "trino",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "files": "drop",
}
"""By component, the folder of its home that must outlive its container."""


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
                if source not in SHARED:
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


def test_nobody_but_init_has_the_key_that_signs(services: dict[str, Service]) -> None:
    has_it = {
        name
        for name, service in services.items()
        for _, target, _ in mounts(service)
        if target in (HOME, f"{HOME}/authority")
    }
    assert has_it == {"init"}


def test_only_who_makes_what_is_shared_may_write_it_and_whoever_needs_it_can_read_it(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, service in services.items():
        for source, target, read_only in mounts(service):
            if source in SHARED:
                assert target == f"{HOME}/{source}"
                assert read_only is (name not in SHARED[source]), (name, source)
    for name, component in native.items():
        shared = {source for source, _, _ in mounts(services[name])}
        if component.certificates:
            assert "tls" in shared, name
        assert ("secrets" in shared) == bool(component.secrets), name

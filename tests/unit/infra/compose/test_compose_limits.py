"""What a container may take, how long it may take to stop, and what it may do."""

from pathlib import Path

import pytest
from compose_file import Service, dockerfile, memory_of, mib

from lakehouse.cluster.drivers import DRIVER_MIB
from lakehouse.components import Component
from lakehouse.infra import CHECKOUT
from lakehouse.settings import Role, Settings, roles_folder
from lakehouse.stack import spark
from lakehouse.stack.foreground import WATCHER_MIB
from lakehouse.stack.installation import Installation

PRINTED_BUDGETS_GIB = {"core": 13, "orchestration": 19}
# By service with a Spark driver, the role that its command takes.
DRIVERS: dict[str, Role] = {
    "speed": "speed",
    **dict.fromkeys(("batch", "reconcile", "backfill", "rebuild"), "batch"),
    "maintain": "orchestration",
}
# Of a driver's JVM beside its heap, and of the Python that drives it.
BESIDE_THE_HEAP_MIB = 512


def test_a_limit_is_what_the_component_may_take_and_what_watches_it(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, component in native.items():
        if component.launch is not None:
            assert memory_of(services[name]) == component.memory_mib + WATCHER_MIB, name


@pytest.mark.parametrize(("profile", "gib"), PRINTED_BUDGETS_GIB.items())
def test_a_profile_keeps_to_the_budget_that_is_printed(
    services: dict[str, Service], profile: str, gib: int
) -> None:
    running = [s for s in services.values() if profile in s["profiles"] and s["restart"] != "no"]
    assert sum(map(memory_of, running)) <= gib * 1024
    assert f"{gib} GiB" in (CHECKOUT / "README.md").read_text()


def test_drivers_have_room_where_they_run_and_nowhere_else(services: dict[str, Service]) -> None:
    assert memory_of(services[spark.DRIVERS]) >= spark.DRIVERS_AT_ONCE * DRIVER_MIB
    assert mib(spark.WORKER_MEMORY) < DRIVER_MIB


@pytest.mark.parametrize(("name", "role"), DRIVERS.items())
def test_a_drivers_container_has_room_for_its_heap(
    services: dict[str, Service], tmp_path: Path, name: str, role: Role
) -> None:
    Installation(Settings(home=tmp_path, network="services")).write_roles()
    told = Settings(_env_file=roles_folder(tmp_path) / f"{role}.env", home=tmp_path)  # type: ignore[call-arg]
    assert mib(told.spark_driver_memory) + BESIDE_THE_HEAP_MIB <= memory_of(services[name])


def test_a_stop_is_given_longer_than_the_component_takes(
    services: dict[str, Service], native: dict[str, Component]
) -> None:
    for name, component in native.items():
        seconds = int(services[name]["stop_grace_period"].removesuffix("s"))
        assert seconds > component.grace_seconds


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

"""What a container of the stack relies on: what it may not make is there, and its mark is true."""

import importlib
import os
import pkgutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import lakehouse.stack
from lakehouse.components import READY, Component, ComponentError, Launch
from lakehouse.infra import infra_file
from lakehouse.java import Java
from lakehouse.settings import Settings
from lakehouse.stack import foreground, installation
from lakehouse.stack.profile import components, install


def containers(home: Path) -> Settings:
    return Settings(home=home, network="services")


def component(
    argv: list[str], health: Callable[[], str], provision: Callable[[], None] = lambda: None
) -> Component:
    return Component("thing", launch=lambda: Launch(argv), health=health, provision=provision)


def shared(home: Path) -> set[Path]:
    return {file for folder in ("tls", "secrets", "roles") for file in (home / folder).iterdir()}


@pytest.fixture
def _nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Launching writes configurations and runs nothing."""
    stand_ins = {
        "distribution": lambda *_: tmp_path / "distribution",
        "cached_jars": lambda *_: [tmp_path / "agent.jar"],
        "find_java": lambda **_: Java(tmp_path / "java", 25),
        "format_storage": lambda *_: None,
        "_make_cluster": lambda *_: None,
        "_own_address": lambda *_: "172.18.0.2",  # no master's name is known here
    }
    for module in pkgutil.iter_modules(lakehouse.stack.__path__):
        loaded = importlib.import_module(f"lakehouse.stack.{module.name}")
        for name, stand_in in stand_ins.items():
            if hasattr(loaded, name):
                monkeypatch.setattr(loaded, name, stand_in)


@pytest.mark.usefixtures("_nothing_is_installed")
def test_init_makes_all_that_servers_need_of_what_they_can_only_read(tmp_path: Path) -> None:
    install(containers(tmp_path / "home"))
    made = shared(tmp_path / "home")
    for server in components(containers(tmp_path / "home"), {}):
        if server.launch is not None:
            server.launch()
    assert shared(tmp_path / "home") - made == set()


@pytest.mark.usefixtures("_nothing_is_installed")
def test_init_again_changes_no_secret_and_no_certificate(tmp_path: Path) -> None:
    settings = containers(tmp_path / "home")
    install(settings)
    before = {file: file.read_bytes() for file in shared(settings.home)}
    install(settings)
    after = {file: file.read_bytes() for file in shared(settings.home)}
    changed = {file.parent.name for file in before if before[file] != after[file]}
    assert before.keys() == after.keys()
    assert changed <= {"roles"}  # each has a new token for the registry


def test_every_server_can_be_named_where_none_is_installed(tmp_path: Path) -> None:
    # A container has the distribution of its own server only.
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache", network="services")
    names = [server.name for server in components(settings, {})]
    assert {"postgresql", "trino", "mlflow", "prometheus"} <= set(names)
    assert not (tmp_path / "home").exists()


def test_in_containers_a_server_is_at_its_own_name_and_usual_port(tmp_path: Path) -> None:
    there = installation.Installation(containers(tmp_path))
    assert there.address("kafka-internal") == "kafka:9094"
    assert there.listen_address("kafka") == "0.0.0.0:9092"
    assert there.address("spark-worker-1-web") == "spark-worker-1:8091"


def test_a_component_is_marked_ready_when_it_is_provisioned_and_while_it_answers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreground, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(foreground, "POLL_SECONDS", 0.01)
    mark = settings.home / "run" / "thing.ready"
    seen: list[float] = []

    def health() -> str:
        if mark.exists():
            seen.append(mark.stat().st_mtime)
            os.utime(mark, (1, 1))
        return READY

    provisioned: list[bool] = []
    server = component(
        [sys.executable, "-c", "import time; time.sleep(1); raise SystemExit(3)"],
        health,
        lambda: provisioned.append(mark.exists()),
    )
    assert foreground.run(server, settings) == 3
    assert provisioned == [False]
    assert len(seen) > 2
    assert all(moment > 1 for moment in seen), "the mark was not touched again"


@pytest.mark.parametrize("on_request", ["SIG_DFL", "SIG_IGN"])
def test_a_component_that_cannot_be_provisioned_ends_and_its_server_with_it(
    settings: Settings, tmp_path: Path, on_request: str
) -> None:
    runs, survived = tmp_path / "runs", tmp_path / "survived"
    script = (
        "import pathlib, signal, time; "
        f"signal.signal(signal.SIGTERM, signal.{on_request}); "
        f"pathlib.Path({str(runs)!r}).touch(); time.sleep(10); "
        f"pathlib.Path({str(survived)!r}).touch()"
    )

    def fail() -> None:
        raise ComponentError("no connection")

    server = replace(
        component(
            [sys.executable, "-c", script], lambda: READY if runs.exists() else "starting", fail
        ),
        grace_seconds=0.2,
    )
    with pytest.raises(ComponentError, match="no connection"):
        foreground.run(server, settings)
    assert not survived.exists(), "it was waited for"
    assert not foreground.is_ready(server, settings)


def test_a_component_that_no_longer_answers_is_not_ready(settings: Settings) -> None:
    server = component(["true"], lambda: READY)
    mark = foreground.ready_mark(settings, server)
    mark.parent.mkdir(parents=True)
    assert not foreground.is_ready(server, settings)
    mark.touch()
    assert foreground.is_ready(server, settings)
    stale = time.time() - foreground.STALE_SECONDS - 1
    os.utime(mark, (stale, stale))
    assert not foreground.is_ready(server, settings)


@pytest.mark.parametrize(("age", "status"), [(None, 1), (0, 0), (60, 1)])
def test_the_health_check_of_an_image_says_the_same(
    tmp_path: Path, age: float | None, status: int
) -> None:
    mark = tmp_path / "run" / "kafka.ready"
    mark.parent.mkdir()
    if age is not None:
        mark.touch()
        os.utime(mark, (time.time() - age, time.time() - age))
    script = infra_file("images/healthy")
    done = subprocess.run(
        [script, "kafka"],
        env=os.environ | {"LAKEHOUSE_HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == status
    assert f"-{foreground.STALE_SECONDS:.0f} seconds" in script.read_text()


def test_a_task_is_no_server(settings: Settings) -> None:
    with pytest.raises(ComponentError, match="tables is a task"):
        foreground.run(Component("tables"), settings)

"""What the doctor finds, and what it advises."""

import json
import socket
import subprocess
import sys

import pytest

from lakehouse import doctor
from lakehouse.artifacts import Profile
from lakehouse.distributions import DISTRIBUTIONS, cached_home
from lakehouse.doctor import Finding, examine
from lakehouse.java import Java, JavaError
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from lakehouse.stack.installation import PORTS, service_of


def finding(settings: Settings, check: str, absent: dict[str, str] | None = None) -> Finding:
    return next(found for found in examine(settings, absent or {}) if found.check == check)


def test_an_empty_home_is_no_fault(settings: Settings) -> None:
    assert finding(settings, "python").verdict == "ok"
    assert finding(settings, "processes").verdict == "ok"


def test_missing_artifacts_are_a_failure_with_the_way_out(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"cache": settings.home / "cache"})
    found = finding(elsewhere, "artifacts")
    assert (found.verdict, found.advice) == ("failure", "run `lakehouse artifacts fetch`")


def test_a_missing_java_is_a_failure_with_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise JavaError("no Java was found (JAVA_HOME, PATH): install a JDK 17")

    monkeypatch.setattr(doctor, "find_java", none)
    found = finding(settings, "java")
    assert (found.verdict, found.advice) == ("failure", "install a JDK 17")


def test_a_dead_process_is_found(settings: Settings) -> None:
    supervisor = Supervisor(settings.home)
    record = supervisor.start("land", [sys.executable, "-c", "pass"])
    supervisor._children["land"].wait()
    assert not record.alive
    found = finding(settings, "process: land")
    assert found.verdict == "warning"
    assert "land.log" in found.detail
    assert "lakehouse down" in found.advice


def test_a_port_taken_by_a_stranger_is_found(settings: Settings) -> None:
    port = Supervisor(settings.home).port("kafka")
    assert finding(settings, "port: kafka").verdict == "ok"
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        assert finding(settings, "port: kafka").verdict == "warning"


@pytest.mark.parametrize("use", PORTS)
def test_a_port_of_a_running_component_is_its_own(settings: Settings, use: str) -> None:
    supervisor = Supervisor(settings.home)
    port = supervisor.port(use)
    supervisor.start(service_of(use), ["sleep", "600"])
    try:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))
            server.listen()
            found = list(doctor._ports(settings, Profile.EMBEDDED))
        assert found == [Finding(f"port: {use}", "ok", str(port))]
    finally:
        supervisor.stop(service_of(use))


def test_before_the_first_start_of_a_stack_its_usual_ports_are_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {"spark-master": port})
        found = [item for item in examine(settings, {}, Profile.STACK) if "port: " in item.check]
        assert [(item.check, item.verdict) for item in found] == [("port: spark-master", "warning")]
        assert f"{port} is taken by a stranger" in found[0].detail
    assert not any("port: " in item.check for item in examine(settings, {}, Profile.EMBEDDED))


def test_little_space_and_memory_are_warnings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DISK_BYTES", {Profile.EMBEDDED: 1 << 62})
    monkeypatch.setattr(doctor, "MEMORY_BYTES", {Profile.EMBEDDED: 1 << 62})
    assert {finding(settings, name).verdict for name in ("disk: home", "memory")} == {"warning"}


def test_an_absent_room_is_a_warning(settings: Settings) -> None:
    found = finding(settings, "room: demo", {"demo": "No module named 'matplotlib'"})
    assert (found.verdict, found.advice) == ("warning", "run `make setup`")
    assert "matplotlib" in found.detail


def test_json_is_for_programs_and_failures_set_the_exit_code(settings: Settings) -> None:
    environ = {"LAKEHOUSE_HOME": str(settings.home), "LAKEHOUSE_CACHE": str(settings.home / "no")}
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", "doctor", "--json"],
        env=environ | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = {entry["check"]: entry["verdict"] for entry in json.loads(done.stdout)}
    assert (done.returncode, verdicts["artifacts"]) == (1, "failure")


def test_servers_are_spoken_of_when_some_are_there_or_the_stack_is_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    elsewhere = settings.model_copy(update={"cache": settings.home / "cache"})

    def about_servers(profile: Profile) -> dict[str, Finding]:
        found = examine(elsewhere, {}, profile)
        return {item.check: item for item in found if item.check.startswith("server")}

    assert about_servers(Profile.EMBEDDED) == {}
    trino = next(item for item in DISTRIBUTIONS if item.name == "trino")
    cached_home(elsewhere, trino).mkdir(parents=True)
    partly = about_servers(Profile.EMBEDDED)["servers"]
    assert partly.verdict == "warning"
    assert "minio" in partly.detail
    assert "trino" not in partly.detail
    asked = about_servers(Profile.STACK)
    assert asked["server: trino"].verdict == "ok"
    assert asked["server: minio"].verdict == "failure"
    assert asked["server: minio"].advice == "run `lakehouse artifacts fetch --profile stack`"


def test_the_stack_asks_for_a_newer_java_for_go_and_for_more_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*, oldest: int = 17) -> Java:
        if oldest > 17:
            raise JavaError("Java 24 or newer is needed: install a JDK 24")
        return Java(settings.home, 17)

    monkeypatch.setattr(doctor, "find_java", refuse)
    monkeypatch.setenv("PATH", "")
    elsewhere = settings.model_copy(update={"cache": settings.home / "cache"})
    found = {item.check: item for item in examine(elsewhere, {}, Profile.STACK)}
    assert found["java: trino"].advice == "install a JDK 24"
    assert found["go: minio"].verdict == "failure"
    assert "install Go" in found["go: minio"].advice
    for needed in (doctor.DISK_BYTES, doctor.MEMORY_BYTES):
        assert needed[Profile.STACK] > needed[Profile.EMBEDDED]

"""The servers of the stack that were fetched run on this machine."""

import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from lakehouse.artifacts import Profile, cached_jars
from lakehouse.distributions import (
    DISTRIBUTIONS,
    Distribution,
    absent_distributions,
    distribution,
)
from lakehouse.java import find_java
from lakehouse.settings import Settings

pytestmark = pytest.mark.stack

TRINO_PLUGINS = {"iceberg", "memory", "password-authenticators", "resource-group-managers"}


def answer(*argv: str | Path, **environ: str) -> str:
    done = subprocess.run(
        argv, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_nothing_is_absent(settings: Settings) -> None:
    assert absent_distributions(settings, Profile.STACK) == []


@pytest.mark.parametrize(
    ("name", "command", "expected"),
    [
        ("minio", "minio", r"minio version .*2026-02-12.* \(commit-id=7aac2a2c5b7c\)"),
        ("postgresql", "postgres", r"postgres \(PostgreSQL\) 17\."),
        ("postgresql", "initdb", r"initdb \(PostgreSQL\) 17\."),
        ("postgresql", "pg_ctl", r"pg_ctl \(PostgreSQL\) 17\."),
        ("prometheus", "prometheus", r"prometheus, version \d"),
        ("prometheus", "promtool", r"promtool, version \d"),
        ("alertmanager", "alertmanager", r"alertmanager, version \d"),
        ("alertmanager", "amtool", r"amtool, version \d"),
        ("postgresql-exporter", "prometheus-postgres-exporter", r"_exporter, version 0\.11"),
        ("mlflow", "mlflow", r"mlflow, version 3\."),
    ],
)
def test_a_command_states_its_version(
    settings: Settings, name: str, command: str, expected: str
) -> None:
    stated = answer(distribution(settings, name) / "bin" / command, "--version")
    assert re.search(expected, stated)


@pytest.mark.parametrize(
    "item", [item for item in DISTRIBUTIONS if item.from_path], ids=lambda item: item.name
)
def test_what_may_come_from_path_is_known_by_its_version(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, item: Distribution
) -> None:
    fetched = distribution(settings, item.name)
    monkeypatch.setenv("PATH", str(fetched / "bin"))
    elsewhere = settings.model_copy(update={"cache": tmp_path})
    assert distribution(elsewhere, item.name) == fetched


def test_postgresql_can_encrypt_connections(settings: Settings, tmp_path: Path) -> None:
    server = distribution(settings, "postgresql") / "bin" / "postgres"
    (tmp_path / "postgresql.conf").touch()
    # Only with -C at the front does it answer root too.
    assert answer(server, "-C", "ssl_library", "-D", tmp_path).startswith("OpenSSL")


def test_trino_has_its_plugins_and_a_java_that_is_new_enough(settings: Settings) -> None:
    trino = distribution(settings, "trino")
    assert {path.name for path in (trino / "plugin").iterdir()} == TRINO_PLUGINS
    assert "Airlift launcher" in answer(trino / "bin" / "launcher", "--help")
    jars = {path.name: zipfile.is_zipfile(path) for path in trino.rglob("*.jar")}
    assert [name for name, sound in jars.items() if not sound] == []
    assert any(name.startswith("io.trino_trino-main-") for name in jars)
    assert find_java(oldest=24).version >= 24


def test_apicurio_is_complete(settings: Settings) -> None:
    apicurio = distribution(settings, "apicurio")
    assert (apicurio / "quarkus-run.jar").is_file()
    assert list((apicurio / "lib" / "main").glob("org.postgresql.postgresql-*.jar"))
    assert find_java(oldest=21).version >= 21


def test_the_agent_shows_a_jvms_measurements(settings: Settings, tmp_path: Path) -> None:
    (agent,) = cached_jars(settings, "jmx")
    (tmp_path / "rules.yaml").write_text("rules: []\n")
    option = f"-javaagent:{agent}=0:{tmp_path / 'rules.yaml'}"
    for oldest in (17, 24):
        assert "version" in answer(find_java(oldest=oldest).executable, option, "-version")


def test_the_jars_of_sparks_stack_are_there(settings: Settings) -> None:
    names = [jar.name for jar in cached_jars(settings, "spark-stack")]
    assert sorted(name.split("-")[0] for name in names) == ["iceberg", "postgresql"]

"""Prometheus's folder."""

import json
import stat
from pathlib import Path

import pytest
import yaml

from lakehouse.infra import INFRA
from lakehouse.monitoring import SECRETS, UnknownSecretError, lay_out

CONFIG = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())


def test_targets_rules_and_secrets_are_where_the_configuration_looks(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    config = lay_out(folder, {"lander": ["127.0.0.1:1"]}, {"minio.token": "abc"})
    assert yaml.safe_load(config.read_text()) == CONFIG
    assert json.loads((folder / "targets/lander.json").read_text()) == [
        {"targets": ["127.0.0.1:1"]}
    ]
    rules = {path.name for path in folder.glob(CONFIG["rule_files"][0])}
    assert rules == {path.name for path in (INFRA / "prometheus/rules").iterdir()}
    token = folder / "secrets/minio.token"
    assert token.read_text() == "abc"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_a_job_that_is_gone_asks_nobody_any_more(tmp_path: Path) -> None:
    lay_out(tmp_path, {"lander": ["127.0.0.1:1"], "speed": ["127.0.0.1:2"]})
    watched = (tmp_path / "targets").stat().st_ino
    lay_out(tmp_path, {"lander": ["127.0.0.1:1"]})
    assert [path.name for path in (tmp_path / "targets").iterdir()] == ["lander.json"]
    assert (tmp_path / "targets").stat().st_ino == watched, "a running Prometheus lost sight of it"


def test_a_secret_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownSecretError, match="kafka"):
        lay_out(tmp_path, {}, {"kafka.password": "abc"})


def test_the_configuration_names_these_files() -> None:
    text = (INFRA / "prometheus" / "prometheus.yml").read_text()
    assert all(f"secrets/{name}" in text for name in SECRETS)
    jobs = [job["job_name"] for job in CONFIG["scrape_configs"]]
    ours = {"api", "commands", "feed", "files", "lander", "live", "speed", "metrics"}
    components = {"kafka", "minio", "trino", "postgresql"}
    others = {"minio-bucket", "spark", "registry", "prometheus", "alertmanager"}
    only_in_containers = {"jaeger", "loki"}
    assert set(jobs) == ours | components | others | only_in_containers

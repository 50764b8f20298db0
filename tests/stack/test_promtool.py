"""promtool and amtool read our configuration and run the tests of our rules."""

import subprocess
from pathlib import Path

import pytest
from stack.monitoring import tool

from lakehouse.infra import INFRA
from lakehouse.monitoring import lay_out

pytestmark = pytest.mark.stack

TESTS = sorted((INFRA / "prometheus" / "tests").glob("*.yml"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_tests_pass(path: Path) -> None:
    done = run("promtool", "test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rules_test_can_fail(tmp_path: Path) -> None:
    rules = (INFRA / "prometheus/rules/alerts.yml").read_text()
    assert "dataset) (lakehouse_run_failed) == 1" in rules
    (tmp_path / "rules").mkdir()
    broken = rules.replace(
        "dataset) (lakehouse_run_failed) == 1", "dataset) (lakehouse_run_failed) == 2"
    )
    (tmp_path / "rules/alerts.yml").write_text(broken)
    recording = (INFRA / "prometheus/rules/recording.yml").read_text()
    (tmp_path / "rules/recording.yml").write_text(recording)
    (tmp_path / "tests").mkdir()
    test = tmp_path / "tests/batch.yml"
    test.write_text((INFRA / "prometheus/tests/LakehouseBatchFailed.yml").read_text())
    assert run("promtool", "test", "rules", str(test)).returncode != 0


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    config = lay_out(tmp_path, {"lander": ["127.0.0.1:1"]})
    done = run("promtool", "check", "config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanagers_configuration_is_valid() -> None:
    done = run("amtool", "check-config", str(INFRA / "alertmanager/alertmanager.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def run(name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([tool(name), *words], capture_output=True, text=True, check=False)

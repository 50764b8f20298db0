"""Each alert has a test, a page and metrics that exist; promtool runs the tests in tests/stack."""

import re
from typing import Any

import pytest
import yaml

from infra.grafana import reference
from infra.grafana.boards import metric_names
from lakehouse.infra import INFRA, dags_folder

PROMETHEUS = INFRA / "prometheus"
RUNBOOK = INFRA.parent / "docs" / "runbook"
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
# Of nothing that Prometheus could ask for: dags/plugins/lakehouse_alerts.py.
RAISED_BY_AIRFLOW = {"LakehouseTaskFailed", "LakehouseHourLate"}
SECTIONS = ("**What it means.**", "**What users see.**", "## How to look", "## What to do")


def cases_of(name: str) -> list[dict[str, Any]]:
    path = PROMETHEUS / "tests" / f"{name}.yml"
    tests: list[dict[str, Any]] = yaml.safe_load(path.read_text())["tests"]
    return tests


def test_an_alert_is_one_rule() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names)) >= 10


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_firing_and_not_firing(rule: dict[str, Any]) -> None:
    checks = [check for test in cases_of(rule["alert"]) for check in test["alert_rule_test"]]
    assert {check["alertname"] for check in checks} == {rule["alert"]}
    assert {bool(check["exp_alerts"]) for check in checks} == {True, False}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_has_a_page(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    page = INFRA.parent / rule["annotations"]["runbook_url"]
    assert page == RUNBOOK / f"{rule['alert']}.md"
    text = page.read_text()
    assert all(section in text for section in (*SECTIONS, "## When it is over"))
    assert f"({rule['alert']}.md)" in (RUNBOOK / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(RAISED_BY_AIRFLOW))
def test_an_alert_that_airflow_raises_has_a_page(name: str) -> None:
    text = (RUNBOOK / f"{name}.md").read_text()
    assert all(section in text for section in (*SECTIONS, "## When it is over"))


def test_there_is_no_page_without_an_alert() -> None:
    pages = {path.stem for path in RUNBOOK.glob("Lakehouse*.md")}
    assert pages == {rule["alert"] for rule in ALERTS} | RAISED_BY_AIRFLOW


def test_the_runbook_lists_its_pages() -> None:
    listed = re.findall(r"\(([\w-]+)\.md\)", (RUNBOOK / "README.md").read_text())
    assert {*listed} == {path.stem for path in RUNBOOK.glob("*.md")} - {"README"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_only_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    known = {name for metric in reference.our_metrics() for name in metric.samples}
    expr = rule["expr"]
    asked = metric_names(expr) - {"up"}
    for pattern in re.findall(r'__name__=~"([^"]+)"', expr):
        asked |= {name for name in known if re.fullmatch(pattern, name)}
    assert asked <= known | RECORDED
    assert asked or re.search(r"\bup\b", expr)


def test_inhibition_names_alerts_and_jobs_that_exist() -> None:
    text = (INFRA / "alertmanager" / "alertmanager.yml").read_text()
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    known = {
        "alertname": {rule["alert"] for rule in ALERTS} | RAISED_BY_AIRFLOW,
        "job": {job["job_name"] for job in jobs},
        "dag": {path.stem for path in dags_folder().glob("*.py")},
    }
    for rule in yaml.safe_load(text)["inhibit_rules"]:
        source, target = (_matched(rule[f"{side}_matchers"]) for side in ("source", "target"))
        # Whoever is down, without a job, would mute alerts that it does not explain.
        assert source.keys() in ({"alertname", "job"}, {"alertname", "dag"})
        for label, names in (*source.items(), ("alertname", target["alertname"])):
            assert names <= known[label]


def _matched(matchers: list[str]) -> dict[str, set[str]]:
    """Return the values that matchers name, by label."""
    found = (re.fullmatch(r'(\w+) =~? "(.*)"', matcher) for matcher in matchers)
    return {match[1]: set(match[2].split("|")) for match in found if match}


def test_the_runbook_says_of_every_job_what_it_means_that_it_is_down() -> None:
    text = (RUNBOOK / "LakehouseTargetDown.md").read_text()
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    told = [job for cell in cells for job in re.findall(r"`([\w-]+)`", cell)]
    assert sorted(told) == sorted(job["job_name"] for job in jobs)


def test_recorded_rules_are_tested() -> None:
    tested = {
        name
        for test in cases_of("recording")
        for check in test["promql_expr_test"]
        for name in metric_names(check["expr"])
    }
    assert tested == RECORDED

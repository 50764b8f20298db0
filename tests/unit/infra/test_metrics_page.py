"""docs/metrics.md names whom Prometheus asks, and where our processes listen."""

import re
from pathlib import Path

import yaml

from infra.grafana.reference import PAGE
from lakehouse.embedded import API_PORT
from lakehouse.infra import INFRA
from lakehouse.stack import api
from lakehouse.stack.installation import PORTS
from lakehouse.stack.profile import OWN
from lakehouse.stack.prometheus import IN_CONTAINERS, TARGETS

TEXT = PAGE.read_text(encoding="utf-8")
SCRAPED = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
JOBS = {job["job_name"] for job in SCRAPED}
# Who runs these tells Prometheus where they are.
BY_HAND = {"feed", "files"}


def test_every_job_is_on_the_page_and_no_other() -> None:
    ours = set(re.findall(r"^\| [^|]+ \| `lakehouse [^|]+ \| `(\w+)` \|$", TEXT, re.MULTILINE))
    theirs = TEXT.partition("| component | job |")[2].partition("\n\n")[0]
    cells = [line.split("|")[2] for line in theirs.splitlines()[2:]]
    told = ours | {job for cell in cells for job in re.findall(r"`([\w-]+)`", cell)}
    assert told == JOBS


def test_the_stack_tells_prometheus_where_each_job_asks() -> None:
    files = {
        job["job_name"]: Path(file).stem
        for job in SCRAPED
        for found in job["file_sd_configs"]
        for file in found["files"]
    }
    assert {*TARGETS, *IN_CONTAINERS} == {files[job] for job in JOBS - BY_HAND}
    assert {use for uses in TARGETS.values() for use in uses} <= {*PORTS}


def test_the_ports_are_those_of_the_stack() -> None:
    told = dict(re.findall(r"`lakehouse (\w+) [^|]*--metrics-port (\d+)`", TEXT))
    by_hand = {told.pop(verb) for verb in BY_HAND}
    assert len(by_hand) == len(BY_HAND)
    assert not by_hand & {*map(str, PORTS.values())}
    assert told == {verb: str(PORTS[f"{verb}-metrics"]) for verb in OWN}
    assert re.findall(r"`lakehouse api serve --port (\d+)`", TEXT) == [str(PORTS[api.NAME])]
    assert PORTS[api.NAME] == API_PORT

"""docs/metrics.md names whom Prometheus asks, and where our processes listen."""

import re

import yaml

from infra.grafana.reference import PAGE
from lakehouse.infra import INFRA
from lakehouse.stack.installation import PORTS

TEXT = PAGE.read_text(encoding="utf-8")


def test_every_job_is_on_the_page_and_no_other() -> None:
    scraped = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())
    ours = set(re.findall(r"^\| [^|]+ \| `lakehouse [^|]+ \| `(\w+)` \|$", TEXT, re.MULTILINE))
    theirs = TEXT.partition("| component | job |")[2].partition("\n\n")[0]
    cells = [line.split("|")[2] for line in theirs.splitlines()[2:]]
    told = ours | {job for cell in cells for job in re.findall(r"`([\w-]+)`", cell)}
    assert told == {job["job_name"] for job in scraped["scrape_configs"]}


def test_the_ports_are_those_of_the_stack() -> None:
    told = dict(re.findall(r"`lakehouse (\w+) [^|]*--metrics-port (\d+)`", TEXT))
    by_hand = {told.pop(verb) for verb in ("feed", "files", "live", "commands")}
    assert len(by_hand) == 4
    assert not by_hand & {*map(str, PORTS.values())}
    assert told == {verb: str(PORTS[f"{verb}-metrics"]) for verb in ("land", "speed", "metrics")}

"""Dashboards: the files are what the code builds, and the code is consistent."""

import json
import re

import pytest

from infra.grafana import reference
from infra.grafana.boards import Board, Panel, Query, metric_names
from infra.grafana.build import BOARDS, FOLDER, file_of
from lakehouse.infra import INFRA

PANELS = [
    pytest.param(panel, id=f"{board.uid}: {row.title}: {panel.title}")
    for board in BOARDS
    for row in board.rows
    for panel in row.panels
]
RUNBOOK = INFRA.parent / "docs" / "runbook"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_file_is_what_the_code_builds(board: Board) -> None:
    written = file_of(board).read_text(encoding="utf-8")
    assert written == board.to_json(), "run `make dashboards`"


def test_there_is_no_other_file() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {file_of(board).name for board in BOARDS}


def test_uids_are_told_apart() -> None:
    assert len({board.uid for board in BOARDS}) == len(BOARDS) == 5


def test_panels_do_not_overlap() -> None:
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(board.to_json())["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, f"{board.uid}: {panel['title']}"
            assert max(x for x, _ in cells) < 24
            taken |= cells


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_where_from(panel: Panel) -> None:
    assert len(panel.description) > 20
    assert panel.queries
    assert panel.runbook is None or (RUNBOOK / f"{panel.runbook}.md").is_file()
    for query in panel.queries:
        assert query.jobs or re.search(r"\b(up|ALERTS)\b", query.expr), query.expr


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_only_for_metrics_of_ours_that_exist(panel: Panel) -> None:
    known = {name for metric in reference.our_metrics() for name in metric.samples}
    for query in panel.queries:
        asked = {name for name in metric_names(query.expr) if name.startswith("lakehouse_")}
        assert asked <= known


def test_the_page_of_metrics_is_what_the_code_declares() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    assert page == reference.with_table(page), "run `make dashboards`"


def test_names_follow_the_convention() -> None:
    for metric in reference.our_metrics():
        assert metric.name.startswith("lakehouse_")
        assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
        # Prometheus gives these to every series; a metric's own would be renamed.
        assert not {"job", "instance"} & set(metric.labels), metric.name
        assert metric.meaning.endswith("."), metric.name


def test_a_query_knows_whom_it_needs() -> None:
    query = Query(
        'rate(minio_bucket_requests_total{bucket="a_b"}[5m]) * on (some_label) group_left () '
        'lakehouse_lander_lag_events + process_cpu_seconds_total{job="speed"}'
    )
    assert query.jobs == {"minio-bucket", "lander", "speed"}

"""The whole tour on real components: the one test that sees everything together."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from lineage_graph import origins
from running_demo import DEADLINE_SECONDS, DEMO, LAKEHOUSE, environ, running_demo
from trace_collector import Collected, TraceCollector, trace_collector

from lakehouse.catalog import load_catalog
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.settings import Settings
from serving.engine import SqlEngine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

POLL_SECONDS = 0.1


def processes_of(settings: Settings) -> list[str]:
    """Return what runs with this home in its environment, whoever started it."""
    home, found = str(settings.home), []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LAKEHOUSE_HOME") == home:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def wait_until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(POLL_SECONDS)


def lineage_folder(settings: Settings) -> Path:
    """Return where the runs of a home told their lineage."""
    return settings.home.with_name("lineage")


def all_views(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return every merged view, whichever layer its rows come from."""
    engine = SqlEngine(load_catalog(settings))
    return {
        view: engine.query(f"SELECT * EXCLUDE (status) FROM {view} ORDER BY ALL").to_pylist()
        for view in engine.relations()
        if view.startswith("serving.")
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[TraceCollector]:
    with trace_collector() as running:
        yield running


@pytest.fixture(scope="module")
def toured(
    collector: TraceCollector, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, dict[str, Any], str]:
    """A home in which the tour has ended well, its JSON, and what it said meanwhile."""
    settings = Settings(home=tmp_path_factory.mktemp("demo") / "home")
    done = subprocess.run(
        [*DEMO, "--speed", "30", "--json"],
        env=environ(settings)
        | {
            "LAKEHOUSE_OTLP_ENDPOINT": collector.endpoint,
            "LAKEHOUSE_OPENLINEAGE_URL": lineage_folder(settings).as_uri(),
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return settings, json.loads(done.stdout), done.stderr


def test_every_view_equals_the_oracle(toured: tuple[Settings, dict[str, Any], str]) -> None:
    _, found, _ = toured
    assert found["equal"] is True
    assert {view: verdict["rows"] for view, verdict in found["verdicts"].items()} == {
        "serving.trades": 43249,
        "serving.bars_1m": 48,
        "serving.bars_1h": 8,
        "serving.market_daily": 8,
    }
    assert found["verdict_midway"]["rows"] > 0


def test_the_first_hour_ends_reconciled_and_the_rest_provisional(
    toured: tuple[Settings, dict[str, Any], str],
) -> None:
    _, found, _ = toured
    assert found["bars"]["RECONCILED"] + found["bars"]["PROVISIONAL"] == 48
    assert found["bars"]["RECONCILED"] >= 4
    assert found["bars"]["PROVISIONAL"] >= 4
    assert {row["verdict"] for row in found["reconciliation"]} == {"AGREE"}


def test_freshness_was_measured_on_every_event(
    toured: tuple[Settings, dict[str, Any], str],
) -> None:
    _, found, _ = toured
    fresh = found["freshness"]["all"]
    assert fresh["events"] == found["events"] == 43249
    assert 0 < fresh["p50_seconds"] <= fresh["p95_seconds"] <= fresh["p99_seconds"]


def test_the_lake_stays_and_nothing_runs(toured: tuple[Settings, dict[str, Any], str]) -> None:
    settings, found, said = toured
    assert processes_of(settings) == []
    assert Path(found["picture"]).read_bytes().startswith(b"\x89PNG")
    rows = SqlEngine(load_catalog(settings)).query("SELECT count(*) AS n FROM serving.trades")
    assert rows.to_pylist() == [{"n": 43249}]
    assert "Try next" in said


def rows_of(spans: list[Collected]) -> int:
    return sum(span.attributes["lakehouse.rows"] for span in spans)


def test_what_the_runs_told_follows_a_bar_to_its_topic(
    toured: tuple[Settings, dict[str, Any], str],
) -> None:
    settings, found, _ = toured
    events = [
        json.loads(line)
        for file in lineage_folder(settings).iterdir()
        for line in file.read_text().splitlines()
    ]
    ended = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    assert {"land", "batch.trades", "reconcile.trades", "speed.trades"} <= ended.keys()
    assert not [event for event in events if event["eventType"] == "FAIL"]
    written = {
        one["facets"]["symlinks"]["identifiers"][0]["name"]: one
        for event in ended.values()
        for one in event["outputs"]
    }
    made_of = {
        ((one["namespace"], one["name"]), column): [
            ((source["namespace"], source["name"]), source["field"])
            for source in fields["inputFields"]
        ]
        for one in written.values()
        for column, fields in one["facets"].get("columnLineage", {"fields": {}})["fields"].items()
    }
    for table in ("gold.market_daily", "gold.bars_1m_rt"):
        place = (written[table]["namespace"], written[table]["name"])
        assert {(topic, field) for (_, topic), field in origins(made_of, (place, "vwap"))} == {
            ("market.trades", f"value.{field}") for field in ("price", "quantity", "contract_size")
        }
    trades = written["silver.trades"]["outputFacets"]["outputStatistics"]["rowCount"]
    assert trades == found["batch"]["rows"]["silver.trades"]


@pytest.mark.usefixtures("toured")
def test_each_commit_of_the_lander_was_traced(collector: TraceCollector) -> None:
    commits = collector.named("commit bronze.market_trades", "land")
    assert {span.attributes["messaging.destination.name"] for span in commits} == {TRADES_TOPIC}
    assert sum(span.attributes["messaging.batch.message_count"] for span in commits) == 43249


@pytest.mark.usefixtures("toured")
def test_each_micro_batch_was_traced_with_its_commits(collector: TraceCollector) -> None:
    found = collector.named(f"process {TRADES_TOPIC}", "speed")
    numbers = [span.attributes["lakehouse.micro_batch.id"] for span in found]
    assert sorted(numbers) == list(range(len(found)))
    assert rows_of(found) == 43249
    commits = {"commit silver.trades_rt", "commit gold.bars_1m_rt"}
    for micro_batch in found:
        # The first, of a log that is still empty, has none.
        expected = commits if micro_batch.attributes["lakehouse.rows"] else set()
        assert {step.name for step in collector.steps_of(micro_batch)} == expected


def test_a_batch_run_was_traced_step_by_step(
    toured: tuple[Settings, dict[str, Any], str], collector: TraceCollector
) -> None:
    settings, _, _ = toured
    [run] = collector.named("batch trades", "batch")
    logged = SqlEngine(load_catalog(settings)).query(
        "SELECT run_id, interval_start, interval_end FROM ops.runs "
        "WHERE dataset = 'trades' AND kind = 'batch' AND status = 'PUBLISHED'"
    )
    [row] = logged.to_pylist()
    assert run.is_root
    assert run.attributes == {
        "lakehouse.dataset": "trades",
        "lakehouse.run.id": row["run_id"],
        "lakehouse.interval.start": row["interval_start"].isoformat(),
        "lakehouse.interval.end": row["interval_end"].isoformat(),
    }
    steps = collector.steps_of(run)
    tables = ["silver.trades", "gold.bars_1m", "gold.bars_1h", "gold.market_daily"]
    assert [step.name for step in steps] == [
        "read bronze.market_trades",
        *(f"write {table}" for table in tables),
        *(f"publish {table}" for table in tables),
    ]
    for before, after in pairwise(steps):
        assert run.started <= before.started <= before.ended <= after.started <= run.ended
    for table, write in zip(tables, steps[1:5], strict=True):
        assert [step.name for step in collector.steps_of(write)] == [f"audit {table}"]
        assert write.attributes["lakehouse.rows"] > 0


@pytest.mark.usefixtures("toured")
def test_a_reconciliation_was_traced_with_its_verdicts(collector: TraceCollector) -> None:
    [run] = collector.named("reconcile trades", "reconcile")
    steps = collector.steps_of(run)
    assert [step.name for step in steps] == [
        "reconcile silver.trades",
        "reconcile gold.bars_1m",
    ]
    assert {step.attributes["lakehouse.verdict"] for step in steps} == {"AGREE"}
    assert rows_of(steps) > 0


def test_the_upkeep_of_a_table_is_traced(
    toured: tuple[Settings, dict[str, Any], str], collector: TraceCollector
) -> None:
    settings, _, _ = toured
    subprocess.run(
        [*LAKEHOUSE, "maintain", "--table", "gold.bars_1m", "--dry-run"],
        env=environ(settings) | {"LAKEHOUSE_OTLP_ENDPOINT": collector.endpoint},
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    [span] = collector.named("maintain gold.bars_1m", "maintain")
    assert span.attributes["lakehouse.outcome"] == "PLANNED"


def test_what_is_tried_next_confirms_the_rest_and_prunes(
    toured: tuple[Settings, dict[str, Any], str],
) -> None:
    settings, _, said = toured
    judged = all_views(settings)  # as the oracle found them right, in both layers
    pruned = 0
    for verb in ("batch", "reconcile"):
        (command,) = (line for line in said.splitlines() if f"lakehouse {verb} --start" in line)
        words = command.split()
        done = subprocess.run(
            [*LAKEHOUSE, *words[words.index(verb) :], "--json"],
            env=environ(settings),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if verb == "reconcile":
            pruned = sum(row["pruned"] for row in json.loads(done.stdout))
    assert pruned > 0
    assert all_views(settings) == judged
    statuses = SqlEngine(load_catalog(settings)).query("SELECT DISTINCT status FROM serving.trades")
    assert statuses.to_pylist() == [{"status": "RECONCILED"}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_tour_leaves_nothing_running(
    settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with running_demo(settings, out) as process:
        wait_until(lambda: "produced" in out.read_text(), "events are produced")
        assert any("replay" in command for command in processes_of(settings))
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == 130
    assert processes_of(settings) == []
    assert "Traceback" not in out.read_text()
    assert {path.name for path in (settings.home / "run").glob("*.json")} == {"ports.json"}

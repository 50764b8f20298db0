"""Hours processed again, beside what lives: by backfill, by hand, after a crash; and their day.

It begins where the loop ends: the two hours of the sample are processed and reconciled.
"""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan
from stack.market_day import assert_all_equal
from stack.orchestration import Airflow
from stack.running import FIRST_HOUR, LAST_HOUR, RunningStack

from demo.judge import Judge
from infra.airflow.api import HOURLY, RUN_SECONDS, AirflowApiError
from lakehouse.intervals import HOUR, Interval

pytestmark = [
    pytest.mark.stack,
    pytest.mark.airflow,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("processed"),
]

TRADES_ALONE = {"datasets": ["trades"]}
BARS = "gold.bars_1m"
DAILY = "daily_reports"
INSTRUMENTS = 4
GUESSED = "not-the-password"


def test_a_days_reports_follow_its_last_hour(stack: RunningStack, airflow: Airflow) -> None:
    """The first hour that is processed by schedule was the last of its day."""
    stack.wait_until(lambda: bool(airflow.runs(DAILY)), "a day's reports have begun")
    (run,) = airflow.runs(DAILY)
    assert run["partition_key"] == "2024-08-08"
    assert airflow.wait_for(DAILY, [run["dag_run_id"]]) == {"success"}
    (day,) = stack.rows(
        "SELECT count(*) AS n FROM gold.market_daily WHERE business_date = DATE '2024-08-08'"
    )
    assert day["n"] == INSTRUMENTS


def test_a_column_is_followed_from_a_run_of_a_task(stack: RunningStack, processed: Any) -> None:
    """What the jobs have told: their lineage, with the task that submitted them."""
    told = (stack.settings.home / "lineage" / "batch.jsonl").read_text().splitlines()
    facets = [json.loads(line)["run"]["facets"] for line in told]
    parents = {facet["parent"]["job"]["name"] for facet in facets if "parent" in facet}
    assert f"{HOURLY}.batch.silver" in parents


@pytest.mark.drill
def test_a_backfill_by_command_mends_what_a_bug_left_though_its_application_is_killed(
    stack: RunningStack, airflow: Airflow, judge: Judge
) -> None:
    """Bars as an earlier definition might have left them; nothing else is written again."""
    right = {hour: bars_of(stack, hour) for hour in (FIRST_HOUR, LAST_HOUR)}
    others = {table: snapshot(stack, table) for table in ("gold.bars_1h", "gold.market_daily")}
    spoil(stack, FIRST_HOUR)
    assert bars_of(stack, FIRST_HOUR) != right[FIRST_HOUR]
    airflow.command(
        "backfill",
        "create",
        *("--dag-id", HOURLY, "--from-date", day_of(FIRST_HOUR), "--to-date", day_of(FIRST_HOUR)),
        *("--reprocess-behavior", "completed", "--max-active-runs", "1"),
        *("--dag-run-conf", json.dumps(TRADES_ALONE)),
    )
    run = airflow.run_of(HOURLY, FIRST_HOUR)
    assert run is not None
    stack.run("drivers", "kill", driver_at_work(stack, f"the application of {run}"))
    assert airflow.over_again(HOURLY, run) == {"success"}, airflow.story(HOURLY, [run])
    tasks = [one for one in airflow.tasks(HOURLY, run) if one["state"] == "success"]
    tries = {one["task_id"]: one["try_number"] for one in tasks}
    assert max(tries.values()) > tries["plan"], tries
    assert {hour: bars_of(stack, hour) for hour in right} == right
    assert {table: snapshot(stack, table) for table in others} == others
    assert_all_equal(judge)


@pytest.mark.drill
def test_a_backfill_by_rest_in_reverse_changes_nothing(
    stack: RunningStack, airflow: Airflow, judge: Judge
) -> None:
    before = {table: snapshot(stack, table) for table in (BARS, "gold.bars_1h", "silver.fills")}
    airflow.ask(
        "POST",
        "backfills",
        {
            "dag_id": HOURLY,
            "from_date": FIRST_HOUR.isoformat(),
            "to_date": LAST_HOUR.isoformat(),
            "run_backwards": True,
            "reprocess_behavior": "completed",
            "max_active_runs": 1,
            "dag_run_conf": TRADES_ALONE,
        },
    )
    runs = [str(airflow.run_of(HOURLY, hour)) for hour in (FIRST_HOUR, LAST_HOUR)]
    assert {state for run in runs for state in airflow.over_again(HOURLY, run)} == {"success"}
    assert {table: snapshot(stack, table) for table in before} == before
    assert_all_equal(judge)


@pytest.mark.drill
def test_what_fails_its_audit_is_not_published_and_somebody_is_told(
    stack: RunningStack, airflow: Airflow, judge: Judge
) -> None:
    with one_bar_too_many(stack, FIRST_HOUR):
        before = snapshot(stack, BARS)
        run = airflow.trigger(HOURLY, window(FIRST_HOUR) | TRADES_ALONE)
        assert airflow.wait_for(HOURLY, [run]) == {"failed"}, airflow.story(HOURLY, [run])
        states = airflow.states(HOURLY, run)
        assert states["batch.audit"] == {"failed"}
        assert states["batch.publish"] == {"upstream_failed"}
        assert states["reconcile"] == {"upstream_failed"}
        assert snapshot(stack, BARS) == before
    alerts = [alert for alert in firing(stack) if alert["labels"].get("run") == run]
    assert [alert["labels"]["alertname"] for alert in alerts] == ["LakehouseTaskFailed"]
    assert "AuditError: gold.bars_1m was not published" in alerts[0]["annotations"]["summary"]
    assert_all_equal(judge)


def test_a_viewer_sees_runs_and_starts_none(stack: RunningStack) -> None:
    viewer = Airflow(stack, user="viewer")
    assert viewer.runs(HOURLY)
    with pytest.raises(AirflowApiError, match="403"):
        viewer.trigger(HOURLY, window(FIRST_HOUR))


def test_who_knows_no_password_is_not_let_in(stack: RunningStack) -> None:
    with pytest.raises(AirflowApiError, match="401"):
        Airflow(stack, password=GUESSED).runs(HOURLY)
    with pytest.raises(OSError):  # noqa: PT011 - whichever: it is TLS that hangs up
        urllib.request.urlopen(Airflow(stack).address.replace("https", "http"), timeout=10)


def driver_at_work(stack: RunningStack, story: str) -> str:
    """Wait until one driver is left, which has its application on the cluster; return it."""
    found: list[str] = []

    def works() -> bool:
        page = f"http://{stack.installation.address('spark-master-web')}/json/"
        with urllib.request.urlopen(page, timeout=10) as answer:
            master = json.load(answer)
        found[:] = [one["id"] for one in master["activedrivers"] if one["state"] == "RUNNING"]
        return len(found) == 1 and "batch" in {one["name"] for one in master["activeapps"]}

    stack.wait_until(works, story, deadline_seconds=RUN_SECONDS)
    return found[0]


def day_of(hour: datetime) -> str:
    return hour.isoformat()


def window(hour: datetime) -> dict[str, Any]:
    return {"start": hour.isoformat(), "end": (hour + HOUR).isoformat()}


def snapshot(stack: RunningStack, table: str) -> int | None:
    current = stack.catalog.load_table(table).current_snapshot()
    return current.snapshot_id if current else None


def bars_of(stack: RunningStack, hour: datetime) -> list[dict[str, Any]]:
    return stack.rows(
        f"SELECT * FROM {BARS} WHERE window_start >= TIMESTAMP '{hour:%Y-%m-%d %H:%M} UTC' "
        f"AND window_start < TIMESTAMP '{hour + HOUR:%Y-%m-%d %H:%M} UTC' "
        "ORDER BY venue, symbol, window_start"
    )


def spoil(stack: RunningStack, hour: datetime) -> None:
    """Give an hour's bars of one instrument another volume."""
    interval = Interval(hour, hour + HOUR)
    table = stack.catalog.load_table(BARS)
    chosen = And(
        EqualTo("symbol", "ETHUSDT"),
        GreaterThanOrEqual("window_start", interval.start.isoformat()),
        LessThan("window_start", interval.end.isoformat()),
    )
    rows = table.scan(row_filter=chosen).to_arrow()
    index = rows.schema.get_field_index("volume")
    volumes = [value.as_py() + Decimal(1) for value in rows["volume"]]
    wrong = rows.set_column(index, rows.schema.field(index), pa.array(volumes, rows["volume"].type))
    table.overwrite(wrong, overwrite_filter=chosen)


@contextmanager
def one_bar_too_many(stack: RunningStack, hour: datetime) -> Iterator[None]:
    """Have the hour a bar that no trade has made."""
    table = stack.catalog.load_table(BARS)
    rows = table.scan(row_filter=EqualTo("symbol", "BTCUSDT")).to_arrow().slice(0, 1)
    index = rows.schema.get_field_index("symbol")
    extra = rows.set_column(
        index, rows.schema.field(index), pa.array(["NONE"], rows["symbol"].type)
    )
    table.append(extra)
    try:
        yield
    finally:
        stack.catalog.load_table(BARS).delete(EqualTo("symbol", "NONE"))


def firing(stack: RunningStack) -> list[dict[str, Any]]:
    page = f"http://{stack.installation.address('alertmanager')}/api/v2/alerts"
    with urllib.request.urlopen(page, timeout=10) as answer:
        alerts: list[dict[str, Any]] = json.load(answer)
    return alerts

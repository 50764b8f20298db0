"""The DAGs: what they consist of, which times their runs are about, and what they would say."""

import json
from datetime import datetime
from typing import Any

import pytest
from airflow_python import FIRST_HOUR, AskError, Dags

from lakehouse.infra import infra_file
from serving.models.names import Model

pytestmark = pytest.mark.airflow

# The whole UTC days on which Berlin's clocks are put forward and back.
FORWARD, BACK = "2024-03-31", "2024-10-27"
# Those that the platform has: the DAGs know them by name alone.
MODELS = [*Model]
HOUR = {"start": "2024-08-08T23:00:00+00:00", "end": "2024-08-09T00:00:00+00:00"}


@pytest.fixture(scope="module")
def described(dags: Dags) -> dict[str, Any]:
    found: dict[str, Any] = dags.ask("describe")
    assert found["errors"] == {}
    return found


def test_each_file_is_parsed_within_a_second(described: dict[str, Any]) -> None:
    slow = {name: seconds for name, seconds in described["seconds"].items() if seconds > 1}
    assert len(described["seconds"]) == 9
    assert slow == {}


@pytest.mark.parametrize(
    ("dag", "timetable", "active", "catchup", "pools"),
    [
        ("hourly_lambda", "CronDataIntervalTimetable", 1, True, {"hourly", "upkeep"}),
        ("daily_reports", "PartitionedAssetTimetable", 1, False, {"upkeep"}),
        ("file_arrivals", "AssetTriggeredTimetable", 16, False, {"requests"}),
        ("file_drops", "NullTimetable", 4, False, {"requests"}),
        ("maintain", "CronTriggerTimetable", 1, False, {"upkeep"}),
        ("ml_score", "PartitionedAssetTimetable", 1, False, {"upkeep"}),
        ("ml_train", "CronTriggerTimetable", 1, False, {"upkeep"}),
        ("backfill_rebuild", "NullTimetable", 1, False, {"backfill"}),
        ("erasure_requests", "NullTimetable", 1, False, {"requests"}),
        ("dlq_redrive", "NullTimetable", 1, False, {"requests"}),
    ],
)
def test_what_a_dag_runs_when_and_beside_what(
    described: dict[str, Any],
    *,
    dag: str,
    timetable: str,
    active: int,
    catchup: bool,
    pools: set[str],
) -> None:
    found = described["dags"][dag]
    assert found["timetable"] == timetable
    assert found["max_active_runs"] == active
    assert found["catchup"] is catchup
    assert {task["pool"] for task in found["tasks"].values()} == pools
    assert pools <= json.loads(infra_file("airflow/pools.json").read_text()).keys()


def test_all_dags_explain_themselves_and_all_tasks_are_tried_again(
    described: dict[str, Any],
) -> None:
    assert len(described["dags"]) == 10
    for name, dag in described["dags"].items():
        assert len(dag["doc"].splitlines()) > 4, name
        assert dag["description"], name
        assert dag["tags"], name
        for task_id, task in dag["tasks"].items():
            assert task["owner"] == "data-platform", (name, task_id)
            assert task["alerts"], (name, task_id)
            # Whether somebody means what they ask for does not change by asking again.
            tries = 0 if (name, task_id) in ASKED_ONCE else 3
            assert task["retries"] == tries, (name, task_id)
            assert task["backoff"] == 2.0, (name, task_id)
        for param, schema in dag["params"].items():
            assert schema.get("type") or schema.get("enum"), (name, param)


ASKED_ONCE = {("erasure_requests", "asked"), ("dlq_redrive", "asked")}
UPSTREAM = {
    "hourly_lambda": {
        "landed": {"plan"},
        "batch.gold": {"batch.silver", "plan", "datasets"},
        "batch.audit": {"batch.gold", "plan", "datasets"},
        "batch.publish": {"batch.audit", "plan", "datasets"},
        "references": {"landed", "plan"},
        "reconcile": {"batch.publish", "plan"},
        "views": {"reconcile"},
        "done": {"reconcile", "references", "plan"},
    },
    "daily_reports": {
        "market_daily": {"day"},
        "customer_activity_daily": {"day"},
        "retention": {"day", "market_daily", "customer_activity_daily"},
    },
    "file_arrivals": {"load": {"arrived"}},
    "maintain": {"maintain": {"asked"}},
    "ml_score": {"features": {"hour"}}
    | {f"{model}.score": {"hour", "features"} for model in MODELS},
    "ml_train": {
        f"{model}.{name}": upstream
        for model in MODELS
        for name, upstream in (
            ("drift", {"yesterday"}),
            ("train", {f"{model}.drift"}),
            ("promote", {f"{model}.train"}),
        )
    },
    "backfill_rebuild": {
        "plan": {"asked"},
        "for_real": {"plan"},
        "rebuild": {"asked", "for_real"},
    },
    "erasure_requests": {"erase": {"asked"}},
    "dlq_redrive": {
        "listing": {"asked"},
        "for_real": {"listing"},
        "redrive": {"asked", "for_real"},
    },
}


@pytest.mark.parametrize("dag", UPSTREAM)
def test_what_waits_for_what(described: dict[str, Any], dag: str) -> None:
    tasks = described["dags"][dag]["tasks"]
    assert {name: set(tasks[name]["upstream"]) for name in UPSTREAM[dag]} == UPSTREAM[dag]


def test_upkeep_waits_for_whatever_else_wants_the_pool(described: dict[str, Any]) -> None:
    tasks = {name: dag["tasks"] for name, dag in described["dags"].items()}
    assert tasks["maintain"]["maintain"]["priority"] == 1
    assert all(task["priority"] > 1 for task in tasks["daily_reports"].values())


@pytest.mark.parametrize(
    ("after", "starts"),
    [
        # An hour, the end of a day, the day that only leap years have, clocks that are put on.
        ("2024-08-08T21:00", ["2024-08-08T22:00", "2024-08-08T23:00", "2024-08-09T00:00"]),
        ("2024-02-28T22:00", ["2024-02-28T23:00", "2024-02-29T00:00"]),
        ("2024-02-29T22:00", ["2024-02-29T23:00", "2024-03-01T00:00"]),
        ("2023-02-28T22:00", ["2023-02-28T23:00", "2023-03-01T00:00"]),
        (f"{FORWARD}T00:00", [f"{FORWARD}T{hour:02}:00" for hour in range(1, 5)]),
        (f"{BACK}T00:00", [f"{BACK}T{hour:02}:00" for hour in range(1, 5)]),
    ],
)
def test_hours_follow_hours_in_utc(dags: Dags, after: str, starts: list[str]) -> None:
    found = dags.ask("intervals", dag="hourly_lambda", after=f"{after}+00:00", count=len(starts))
    assert [start for start, _ in found] == [f"{start}:00+00:00" for start in starts]
    for start, end in found:
        begin, stop = datetime.fromisoformat(start), datetime.fromisoformat(end)
        assert (stop - begin).total_seconds() == 3600


@pytest.mark.parametrize("day", ["2024-08-08", "2024-02-29", FORWARD, BACK])
def test_a_day_waits_for_its_24_hours(dags: Dags, day: str) -> None:
    hours = [f"{day}T{hour:02}:00:00" for hour in range(24)]
    for hour in (hours[0], hours[-1]):
        assert dags.ask("hours_of_day", dag="daily_reports", hour=hour) == {day: hours}


def test_a_scheduled_hour_is_about_its_interval(dags: Dags) -> None:
    told = dags.run(
        "hourly_lambda", data_interval_start=HOUR["start"], data_interval_end=HOUR["end"]
    )
    within = ["--start", HOUR["start"], "--end", HOUR["end"]]
    everything = [word for name in dags.ask("datasets") for word in ("--dataset", name)]
    assert told["landed"]["words"] == [
        *("landed", "--through", HOUR["end"], "--wait-seconds", "1800"),
        *everything,
    ]
    for step in ("silver", "gold", "audit", "publish"):
        assert told[f"batch.{step}"]["words"] == ["batch", *within, "--dataset", "trades"]
    files = ["--dataset", "instruments", "--dataset", "eod_bars"]
    assert told["references"]["words"] == ["batch", *within, *files]
    assert told["reconcile"]["words"] == ["reconcile", *within, *everything]


@pytest.mark.parametrize(
    ("conf", "done"),
    [
        ({"start": "2024-08-10T04:00", "end": "2024-08-10T05:00"}, ["2024-08-10T04:00:00"]),
        (
            # Not UTC, and not from hour to hour: of 00:30 to 03:30 the hours that are whole.
            {"start": "2024-08-10T02:30+02:00", "end": "2024-08-10T05:30+02:00"},
            ["2024-08-10T01:00:00", "2024-08-10T02:00:00"],
        ),
        (
            {"start": "2024-02-28T23:00Z", "end": "2024-02-29T01:00Z"},
            ["2024-02-28T23:00:00", "2024-02-29T00:00:00"],
        ),
        # Of the first hour's day, the hours before it are done with it.
        (HOUR, [f"2024-08-08T{hour:02}:00:00" for hour in range(24)]),
    ],
)
def test_hours_that_are_done_are_told_of(dags: Dags, conf: dict[str, Any], done: list[str]) -> None:
    assert HOUR["start"] == FIRST_HOUR
    assert dags.run("hourly_lambda", conf)["done"]["partitions"] == done


@pytest.mark.parametrize(
    "conf",
    [
        {"start": "2024-08-10T04:00", "end": "2024-08-10T04:59"},
        {"start": "2024-08-10T04:00", "end": "2024-08-10T05:00", "datasets": ["trades"]},
    ],
)
def test_an_hour_that_is_not_done_is_not_told_of(dags: Dags, conf: dict[str, Any]) -> None:
    assert "skipped" in dags.run("hourly_lambda", conf)["done"]


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ({"partition_key": "2024-08-08"}, "2024-08-08", "2024-08-09"),
        ({"partition_key": "2024-02-29"}, "2024-02-29", "2024-03-01"),
        ({"partition_key": FORWARD}, FORWARD, "2024-04-01"),
        ({"partition_key": BACK}, BACK, "2024-10-28"),
    ],
)
def test_a_days_reports_are_about_the_whole_day(
    dags: Dags, given: dict[str, str], start: str, end: str
) -> None:
    within = ["--start", f"{start}T00:00:00+00:00", "--end", f"{end}T00:00:00+00:00"]
    told = dags.run("daily_reports", **given)
    assert told == dags.run("daily_reports", {"day": start}), "by hand it is the same"
    assert told["market_daily"]["words"] == ["batch", *within, "--dataset", "trades"]
    assert told["customer_activity_daily"]["words"] == [
        *("batch", *within),
        *("--dataset", "customers", "--dataset", "fills"),
    ]
    assert told["retention"]["words"][-2:] == ["--as-of", within[-1]]


def test_models_score_the_hour_that_was_reconciled(dags: Dags) -> None:
    told = dags.run("ml_score", partition_key="2024-02-28T23:00:00")
    hour = ["--start", "2024-02-28T23:00:00+00:00", "--end", "2024-02-29T00:00:00+00:00"]
    assert told["features"]["words"] == ["features", *hour]
    for model in MODELS:
        words = ["models", "score", "--model", model, *hour]
        assert told[f"{model}.score"]["words"] == words
    by_hand = {"start": "2024-02-28T23:00", "end": "2024-02-29T00:00"}
    assert dags.run("ml_score", by_hand) == told


@pytest.mark.parametrize(
    ("conf", "run", "day"),
    [
        ({}, {"run_after": "2024-03-01T04:30:00+00:00"}, "2024-02-29"),
        ({"day": "2024-08-08"}, {"run_after": "2024-03-01T04:30:00+00:00"}, "2024-08-08"),
    ],
)
def test_models_are_measured_before_others_take_their_place(
    dags: Dags, conf: dict[str, Any], run: dict[str, str], day: str
) -> None:
    told = dags.run("ml_train", conf, **run)
    for model in MODELS:
        of = ["--model", model]
        assert told[f"{model}.drift"]["words"] == ["models", "drift", *of, "--day", day]
        assert told[f"{model}.train"]["words"] == ["models", "train", *of]
        assert told[f"{model}.promote"]["words"] == ["models", "promote", *of]


def test_a_measurement_that_fails_holds_up_no_training(described: dict[str, Any]) -> None:
    rules = {
        name: one["trigger_rule"] for name, one in described["dags"]["ml_train"]["tasks"].items()
    }
    trained = {f"{model}.train" for model in MODELS}
    assert {name for name, rule in rules.items() if rule == "all_done"} == trained


def test_a_file_has_one_run_however_often_it_is_told_of(dags: Dags) -> None:
    told = [{"file": f"instruments/{name}.csv", "size": 1, "modified_ns": 7} for name in "aab"]
    runs = dags.ask("loads", files=[*told, told[0] | {"modified_ns": 8}])
    assert [run["conf"]["file"][-5:] for run in runs] == ["a.csv", "b.csv", "a.csv"]
    assert len({run["trigger_run_id"] for run in runs}) == 3
    assert runs[:2] == dags.ask("loads", files=told)
    found = dags.run("file_drops", runs[0]["conf"])
    assert found["load"]["words"] == ["files", "load", "--", "instruments/a.csv"]


STRETCH = {"start": "2024-08-08T00:00", "end": "2024-08-10T00:00"}
SAID = ["--start", "2024-08-08T00:00:00+00:00", "--end", "2024-08-10T00:00:00+00:00"]
REBUILD = ["rebuild", "--from", "bronze", "--dataset", "trades"]


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({}, REBUILD),
        (
            {"version": "trades_v2", "accept_differences": True},
            [*REBUILD, "--version", "trades_v2", "--accept-differences"],
        ),
        (STRETCH, ["backfill", *SAID, "--dataset", "trades"]),
        (STRETCH | {"again": True}, ["backfill", *SAID, "--dataset", "trades", "--again"]),
    ],
)
def test_a_rebuild_is_planned_and_then_done(
    dags: Dags, conf: dict[str, Any], words: list[str]
) -> None:
    conf = {"dataset": "trades"} | conf
    told = dags.run("backfill_rebuild", conf)
    assert told["plan"]["words"] == [*words, "--dry-run"]
    assert told["rebuild"]["words"] == words
    only_planned = dags.run("backfill_rebuild", conf | {"dry_run": True})
    assert only_planned["plan"] == told["plan"]
    assert "rebuild" not in only_planned


def test_an_erasure_is_asked_for_twice(dags: Dags) -> None:
    asked = {"customer": "C-00042", "confirm": "C-00042", "reason": "ticket 7"}
    told = dags.run("erasure_requests", asked)
    assert told["erase"]["words"] == ["erase", "--json", "--customer", "C-00042"]
    told = dags.run("erasure_requests", asked | {"confirm": "C-00043"})
    assert "nothing was erased" in told["asked"]["failed"]
    assert "erase" not in told


def test_dead_letters_are_listed_and_sent_only_if_that_is_asked_for(dags: Dags) -> None:
    asked = {"reason": "unknown_schema_id", **STRETCH, "stage": "lander"}
    words = [
        *("dlq", "redrive", "--json", "--reason", "unknown_schema_id"),
        *("--since", SAID[1], "--until", SAID[3], "--stage", "lander", "--max-attempts", "3"),
    ]
    told = dags.run("dlq_redrive", asked)
    assert told["listing"]["words"] == [*words, "--dry-run"]
    assert "redrive" not in told
    assert dags.run("dlq_redrive", asked | {"send": True})["redrive"]["words"] == words


def test_upkeep_is_of_all_tables_unless_some_are_named(dags: Dags) -> None:
    assert dags.run("maintain")["maintain"]["words"] == ["maintain"]
    named = {"tables": ["gold.bars_1m", "silver.trades"], "dry_run": True}
    assert dags.run("maintain", named)["maintain"]["words"] == [
        *("maintain", "--table", "gold.bars_1m", "--table", "silver.trades", "--dry-run"),
    ]


@pytest.mark.parametrize(
    ("dag", "conf"),
    [
        ("hourly_lambda", {"start": "yesterday", "end": "2024-08-10T05:00"}),
        ("hourly_lambda", {"start": 20240810, "end": "2024-08-10T05:00"}),
        ("hourly_lambda", {"datasets": ["prices"]}),
        ("hourly_lambda", {"datasets": "trades"}),
        ("daily_reports", {"day": "2023-02-29"}),
        ("file_drops", {}),
        ("file_drops", {"file": ""}),
        ("maintain", {"tables": ["gold.bars_1m; drop"]}),
        ("maintain", {"dry_run": "yes"}),
        ("backfill_rebuild", {}),
        ("backfill_rebuild", {"dataset": "prices"}),
        ("backfill_rebuild", {"dataset": "trades", "version": "2"}),
        ("erasure_requests", {"customer": "C-1", "reason": "x"}),
        ("erasure_requests", {"customer": "C 1", "confirm": "C 1", "reason": "x"}),
        ("dlq_redrive", {"reason": "x", "start": "2024-08-10T05:00"}),
        ("dlq_redrive", {"reason": "x", **STRETCH, "max_attempts": 0}),
        ("dlq_redrive", {"reason": "x", **STRETCH, "stage": "nobody"}),
    ],
)
def test_a_run_whose_params_are_wrong_is_not_begun(
    dags: Dags, dag: str, conf: dict[str, Any]
) -> None:
    with pytest.raises(AskError, match="ParamValidationError"):
        dags.run(dag, conf)


@pytest.mark.parametrize(
    ("dag", "task", "conf", "why"),
    [
        ("hourly_lambda", "plan", {"start": "2024-08-10T05:00"}, "both or none"),
        ("hourly_lambda", "plan", {"end": "2024-08-10T05:00"}, "both or none"),
        ("hourly_lambda", "plan", {}, "no data interval"),
        ("hourly_lambda", "plan", {"start": HOUR["end"], "end": HOUR["start"]}, "ends before"),
        ("hourly_lambda", "plan", {"start": HOUR["end"], "end": HOUR["end"]}, "ends before"),
        ("hourly_lambda", "plan", {"start": "2023-02-29T00:00", "end": HOUR["end"]}, "no time"),
        ("daily_reports", "day", {}, "give day"),
        ("backfill_rebuild", "asked", {"dataset": "trades", "again": True}, "start and end only"),
        (
            "backfill_rebuild",
            "asked",
            {"dataset": "trades", "version": "trades_v2", **STRETCH},
            "version does not go",
        ),
        ("backfill_rebuild", "asked", {"dataset": "trades", "end": HOUR["end"]}, "both or none"),
        (
            "dlq_redrive",
            "asked",
            {"reason": "x", "start": HOUR["end"], "end": HOUR["start"]},
            "ends",
        ),
    ],
)
def test_params_that_contradict_one_another_fail_the_first_task(
    dags: Dags, dag: str, task: str, conf: dict[str, Any], why: str
) -> None:
    told = dags.run(dag, conf)
    assert why in told[task]["failed"]
    assert not any("words" in said for name, said in told.items() if name != "views"), told

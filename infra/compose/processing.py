"""What was ingested, processed in containers: by hand, or by Airflow as on every stack."""

import json
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from infra.airflow.api import HOURLY, AirflowApi
from infra.compose.engine import CheckFailedError, Engine
from infra.compose.record import Record
from lakehouse.intervals import Interval

AIRFLOW = "airflow-api"
# Where commands are run, as the README has it: its container has a task's memory to spare.
SCHEDULER = "airflow-scheduler"
ADMIN = "admin"
HOME = "/var/lib/lakehouse"
TITLE = "<title>Airflow</title>"
TRADES_ALONE = {"datasets": ["trades"]}
# A run waits for those before it, and two cores have all that is up beside it.
RUN_SECONDS = 2400


def process_by_hand(engine: Engine, seen: Record, interval: Interval) -> None:
    """Run batch over an interval of ingestion, then reconcile it."""
    bounds = ("--start", interval.start.isoformat(), "--end", interval.end.isoformat())
    with seen.timed("batch"):
        seen.say(engine.run("batch", *bounds).strip())
    with seen.timed("reconcile"):
        seen.say(engine.run("reconcile", *bounds).strip())


def process_by_airflow(
    engine: Engine, seen: Record, interval: Interval, first_hour: datetime
) -> None:
    """Have Airflow process an interval; see what it does by schedule, and a backfill of that.

    Args:
        engine: Where Airflow runs.
        seen: What is told.
        interval: What was ingested, which is no whole hour: somebody has to trigger it.
        first_hour: The first hour that is processed by schedule, which is over.

    Raises:
        CheckFailedError: A run did not succeed, or the layers do not agree.
        AirflowApiError: Airflow refuses something, or is not done in time.
    """
    airflow = airflow_of(engine)
    _look_around(airflow, seen)
    window = {"start": interval.start.isoformat(), "end": interval.end.isoformat()}
    triggered = airflow.trigger(HOURLY, window | TRADES_ALONE)
    scheduled = airflow.begun(HOURLY, first_hour, seconds=RUN_SECONDS)
    for run, what in ((scheduled, f"the hour at {first_hour:%H:%M}"), (triggered, "by hand")):
        ended = airflow.wait_for(HOURLY, [run], seconds=RUN_SECONDS)
        _tell_of_run(airflow, seen, run, what, ended)
    engine.within(SCHEDULER, *backfill(first_hour, TRADES_ALONE))
    ended = airflow.over_again(HOURLY, scheduled, seconds=RUN_SECONDS)
    _tell_of_run(airflow, seen, scheduled, "that hour again", ended)
    tell_of_verdicts(engine, seen)


def airflow_of(engine: Engine) -> AirflowApi:
    """Return Airflow at its published port, as its user does who was made at the first start."""
    authority = engine.within(AIRFLOW, "cat", f"{HOME}/tls/ca.pem")
    return AirflowApi(
        f"https://{engine.compose('port', AIRFLOW, '8080').strip()}",
        ADMIN,
        engine.within(AIRFLOW, "cat", f"{HOME}/secrets/airflow-{ADMIN}"),
        ssl.create_default_context(cadata=authority),
    )


def backfill(hour: datetime, conf: Mapping[str, Any]) -> list[str]:
    """Return the command that does an hour again."""
    return [
        *("lakehouse", "stack", "airflow", "backfill", "create", "--dag-id", HOURLY),
        *("--from-date", hour.isoformat(), "--to-date", hour.isoformat()),
        *("--reprocess-behavior", "completed", "--max-active-runs", "1"),
        *("--dag-run-conf", json.dumps(conf)),
    ]


def _look_around(airflow: AirflowApi, seen: Record) -> None:
    if TITLE not in airflow.page():
        raise CheckFailedError(f"{airflow.address} has no page of Airflow's")
    errors = airflow.ask("GET", "importErrors")["import_errors"]
    if errors:
        raise CheckFailedError(f"DAGs that cannot be read: {errors}")
    dags = sorted(dag["dag_id"] for dag in airflow.ask("GET", "dags")["dags"])
    seen.say(f"Airflow's page answers, and shows {ADMIN} {', '.join(dags)}")


def _tell_of_run(airflow: AirflowApi, seen: Record, run: str, what: str, ended: set[str]) -> None:
    if ended != {"success"}:
        raise CheckFailedError(f"{HOURLY}, {what}: {airflow.story(HOURLY, [run])}")
    told = airflow.run(HOURLY, run)
    began, over = (datetime.fromisoformat(told[at]) for at in ("start_date", "end_date"))
    seen.say(f"{HOURLY}, {what}, {told['run_type']}: {(over - began).total_seconds():.0f} s")


def tell_of_verdicts(engine: Engine, seen: Record) -> None:
    """Tell what reconciliations have found.

    Raises:
        CheckFailedError: A table's layers do not agree, or trades were not compared.
    """
    rows = engine.query(
        "SELECT table_name, verdict, count(*) AS times, sum(rows_drifted) AS drifted "
        "FROM ops.reconciliations GROUP BY 1, 2 ORDER BY 1, 2"
    )
    for row in rows:
        seen.say("{table_name}: {verdict}, {times} times, {drifted} rows drifted".format(**row))
    compared = {row["table_name"] for row in rows if row["verdict"] == "AGREE"}
    if {row["verdict"] for row in rows} != {"AGREE"} or "silver.trades" not in compared:
        raise CheckFailedError("the layers do not agree")

"""Each hour of ingestion: processed by batch, held against the speed layer.

For the hour of ingestion time `[data_interval_start, data_interval_end)`:

1. **landed** waits until the lander has passed the hour's end; if it does not within half an
   hour, it fails and says what is behind.
2. For each dataset one run of batch, an application on the Spark cluster: the business hours that
   the hour's events touch, first **silver**, then **gold**, on branches of the tables. They are
   shown by **publish**, and only if they pass their **audit**. The four tasks watch the one run;
   a retry goes on with it.
   **references** is a run over the files that came meanwhile; nothing of it is in the speed layer.
3. **reconcile** compares what both layers have seen, keeps the record in `ops.reconciliations`,
   and fails on drift. It prunes speed rows that batch has taken over.
4. **views** brings the merged views in Trino up to date, and **done** tells whoever listens to the
   asset `reconciled_hours` that the hour is done, if it was about every dataset.

An hour that is run again changes nothing, unless a definition has changed since. By hand, give
`start` and `end`. Hours go in order, one at a time; backfills of past hours may go beside them.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    AsyncCallback,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    WeightRule,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException
from lakehouse_alerts import tell_lateness
from lakehouse_assets import RECONCILED_HOURS, hours_done
from lakehouse_cluster import LakehouseJob, LakehouseVerb, LakehouseWait
from lakehouse_defaults import (
    DATASETS,
    HOURLY_POOL,
    REFERENCES,
    TASKS,
    UPKEEP_POOL,
    first_hour,
    last_hour,
)
from lakehouse_windows import window_of, window_params

LANDING_SECONDS = 1800
LATE_AFTER = timedelta(hours=1)

with DAG(
    "hourly_lambda",
    description="Each hour of ingestion: batch, audit, publish, reconcile",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=first_hour(),
    end_date=last_hour(),
    catchup=True,
    max_active_runs=1,
    # From when it is queued: an hour that is caught up with is not late for being of the past.
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=LATE_AFTER,
        callback=AsyncCallback(tell_lateness),
    ),
    # What is begun goes on before another dataset begins.
    default_args={**TASKS, "pool": HOURLY_POOL, "weight_rule": WeightRule.UPSTREAM},
    params={
        **window_params(),
        "datasets": Param(
            [*DATASETS], type="array", items={"enum": [*DATASETS]}, description="which of them"
        ),
    },
    tags=["lambda", "hourly"],
) as dag:

    @task(multiple_outputs=True)
    def plan(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        """Return what this run is about: ``start`` and ``end``, and the datasets as options."""
        options = [word for name in params["datasets"] for word in ("--dataset", name)]
        return {**window_of(params, dag_run), "options": options}

    @task
    def datasets(params: Any = None) -> list[str]:
        """Return the datasets that are processed."""
        return list(params["datasets"])

    @task_group
    def batch(dataset: str) -> None:
        """One run of batch, watched step by step."""
        words = ["batch", *bounds, "--dataset", dataset]
        silver = LakehouseJob(task_id="silver", words=words, step="silver")
        gold = LakehouseJob(task_id="gold", words=words, step="gold", of=silver.output)
        audit = LakehouseJob(task_id="audit", words=words, step="audit", of=gold.output)
        LakehouseJob(task_id="publish", words=words, of=audit.output)

    @task(outlets=[RECONCILED_HOURS])
    def done(start: str, end: str, params: Any = None, outlet_events: Any = None) -> list[str]:
        """Tell of the whole hours that are done."""
        hours = hours_done(start, end, first_hour())
        if not hours or {*params["datasets"]} < {*DATASETS}:
            raise AirflowSkipException("no whole hour, or not every dataset of it")
        outlet_events[RECONCILED_HOURS].add_partitions(hours)
        return hours

    planned = plan()
    bounds = ["--start", planned["start"], "--end", planned["end"]]
    landed = LakehouseWait(
        task_id="landed",
        words=[
            *("landed", "--through", planned["end"], "--wait-seconds", str(LANDING_SECONDS)),
            planned["options"],
        ],
    )
    of_files = [word for name in REFERENCES for word in ("--dataset", name)]
    references = LakehouseJob(
        task_id="references", words=["batch", *bounds, *of_files], pool=UPKEEP_POOL
    )
    reconcile = LakehouseJob(task_id="reconcile", words=["reconcile", *bounds, planned["options"]])
    views = LakehouseVerb(task_id="views", words=["views", "apply"])
    batches = batch.expand(dataset=datasets())
    told = done(planned["start"], planned["end"])
    landed >> batches >> reconcile >> [views, told]
    landed >> references >> told

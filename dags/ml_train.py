"""Every night, for each model: how it was yesterday, new versions of it, and the better one.

1. **drift** measures how yesterday's features differ from those that the champion was trained on,
   and how right it was, into `ops.model_checks`: of the champion that yesterday had, before another
   can take its place.
2. **train** trains every candidate and registers it in MLflow; the best of them, on a slice of time
   that is kept out of training, is the challenger. It follows whatever became of the measurement,
   which there is none of before the first champion: a failure of it is told, and holds up nothing.
3. **promote** makes the challenger champion if it is better than the champion on the slice of time
   after that, by which nothing was chosen.

A new installation has it paused: there is nothing to learn from yet. By hand, `day` names the day
that is measured.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, TaskGroup, TriggerRule, task
from lakehouse_cluster import LakehouseJob
from lakehouse_defaults import MODELS, TASKS, UPKEEP_POOL, first_hour, last_hour

with DAG(
    "ml_train",
    description="Every night: drift, training, promotion",
    doc_md=__doc__,
    # After the upkeep of the night.
    schedule=CronTriggerTimetable("30 4 * * *", timezone="UTC"),
    start_date=first_hour(),
    end_date=last_hour(),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args={**TASKS, "pool": UPKEEP_POOL, "priority_weight": 2},
    params={
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            description="The day that is measured, UTC; left out, the one before the run's.",
        )
    },
    tags=["models", "daily"],
) as dag:

    @task
    def yesterday(params: Any = None, dag_run: Any = None) -> str:
        """Return the day that is measured."""
        before = dag_run.run_after - timedelta(days=1)
        return str(params["day"] or before.date().isoformat())

    day = yesterday()
    for model in MODELS:
        with TaskGroup(model):
            of = ["--model", model]
            drift = LakehouseJob(task_id="drift", words=["models", "drift", *of, "--day", day])
            train = LakehouseJob(
                task_id="train",
                words=["models", "train", *of],
                trigger_rule=TriggerRule.ALL_DONE,
            )
            promote = LakehouseJob(task_id="promote", words=["models", "promote", *of])
            drift >> train >> promote

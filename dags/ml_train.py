"""Every night: how yesterday's features and predictions were, new models, and the better one.

1. **train** trains every candidate on `gold.features_1m` and registers it in MLflow; the best of
   them, on the last part of the time, which is kept out of training, is the challenger.
2. **promote** makes the challenger champion if it is better than the champion on that same time.
3. **drift** measures how yesterday's features differ from those that the champion was trained on,
   and how right its predictions were, into `ops.model_checks`.

A new installation has it paused: there is nothing to learn from yet. By hand, `day` names the day
that is measured.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, task
from lakehouse_cluster import LakehouseJob
from lakehouse_defaults import TASKS, UPKEEP_POOL, first_hour, last_hour

with DAG(
    "ml_train",
    description="Every night: training, promotion, drift",
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

    train = LakehouseJob(task_id="train", words=["models", "train"])
    promote = LakehouseJob(task_id="promote", words=["models", "promote"])
    drift = LakehouseJob(task_id="drift", words=["models", "drift", "--day", yesterday()])
    train >> promote >> drift

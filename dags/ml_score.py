"""Each hour that is reconciled: its features, and what the champions say of them.

`hourly_lambda` tells of each hour that is done, as a partition of the asset `reconciled_hours`;
each makes one run of this.

1. **features** recomputes `gold.features_1m` where the hour's trades and quotes have moved it. It
   is no part of the hourly run: bars do not wait for the inputs of models, nor fail by them.
2. **score** writes what each model's champion says of these hours to `gold.predictions`.

A new installation has it paused, for it has no champions: run `ml_train` first, then switch both
on. Run again, it changes nothing. By hand, give `start` and `end`, of ingestion time.
"""

from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, TaskGroup, task
from lakehouse_assets import RECONCILED_HOURS
from lakehouse_cluster import LakehouseJob
from lakehouse_defaults import MODELS, TASKS, UPKEEP_POOL
from lakehouse_windows import hour_of, window_of, window_params

with DAG(
    "ml_score",
    description="Each hour, after it was reconciled: features, predictions",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=RECONCILED_HOURS),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args={**TASKS, "pool": UPKEEP_POOL, "priority_weight": 2},
    params=window_params(),
    tags=["models", "hourly"],
) as dag:

    @task(multiple_outputs=True)
    def hour(params: Any = None, dag_run: Any = None) -> dict[str, str]:
        """Return the times of ingestion that this run is about."""
        if dag_run.partition_key and not params["start"]:
            return hour_of(dag_run.partition_key)
        return window_of(params, dag_run)

    times = hour()
    bounds = ["--start", times["start"], "--end", times["end"]]
    features = LakehouseJob(task_id="features", words=["features", *bounds])
    for model in MODELS:
        with TaskGroup(model):
            features >> LakehouseJob(
                task_id="score", words=["models", "score", "--model", model, *bounds]
            )

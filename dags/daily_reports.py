"""Each day's reports, once all of its hours are reconciled.

The day is one of ingestion, midnight to midnight, UTC. `hourly_lambda` tells of each hour that it
has reconciled, as a partition of the asset `reconciled_hours`; the 24 of a day make one run of
this, whatever the order in which they came. An hour that failed holds its day's run back until it
is mended.

1. **market_daily** and **customer_activity_daily**: batch over the whole day. Each hour's run has
   written these tables already, so this changes only what an hour has missed; on most days
   nothing.
2. **retention** takes out of the two tables what their contracts no longer keep as of the day's
   end.

Run again, it changes nothing. By hand, give `day`.
"""

from typing import Any

from airflow.sdk import (
    DAG,
    DayWindow,
    Param,
    PartitionedAssetTimetable,
    RollupMapper,
    StartOfDayMapper,
    task,
)
from lakehouse_assets import RECONCILED_HOURS
from lakehouse_cluster import LakehouseJob
from lakehouse_defaults import TASKS, UPKEEP_POOL
from lakehouse_windows import day_of

with DAG(
    "daily_reports",
    description="Each day, after its last hour: market_daily, customer_activity_daily, retention",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(
        assets=RECONCILED_HOURS,
        default_partition_mapper=RollupMapper(
            upstream_mapper=StartOfDayMapper(), window=DayWindow()
        ),
    ),
    catchup=False,
    max_active_runs=1,
    default_args={**TASKS, "pool": UPKEEP_POOL, "priority_weight": 2},
    params={
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            description="The day of ingestion, UTC; left out where the hours tell.",
        )
    },
    tags=["lambda", "daily"],
) as dag:

    @task(multiple_outputs=True)
    def day(params: Any = None, dag_run: Any = None) -> dict[str, str]:
        """Return the times of ingestion that this run is about."""
        return day_of(params["day"] or dag_run.partition_key)

    times = day()
    batch = ["batch", "--start", times["start"], "--end", times["end"]]
    market = LakehouseJob(task_id="market_daily", words=[*batch, "--dataset", "trades"])
    activity = LakehouseJob(
        task_id="customer_activity_daily",
        words=[*batch, "--dataset", "customers", "--dataset", "fills"],
    )
    tables = ["--table", "gold.market_daily", "--table", "gold.customer_activity_daily"]
    retention = LakehouseJob(
        task_id="retention", words=["maintain", *tables, "--as-of", times["end"]]
    )
    [market, activity] >> retention

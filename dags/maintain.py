"""Upkeep, every night: small files put together, what has expired deleted, orphans cleared up.

Lander, speed layer and hourly runs go on beside it; what one of them is at work on is left to the
next night. Its reports are in `ops.maintenance`, the rules in `docs/upkeep.md`. It waits for
whatever else wants the pool.

By hand, `tables` names those to be kept up (all if there are none), and `dry_run` only tells what
would be done.
"""

from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, WeightRule, task
from lakehouse_cluster import LakehouseJob
from lakehouse_defaults import TASKS, UPKEEP_POOL, first_hour, last_hour

with DAG(
    "maintain",
    description="Every night: compaction, retention, expiry, orphans",
    doc_md=__doc__,
    # After the first hours of the day, and not at once when it is new.
    schedule=CronTriggerTimetable("30 2 * * *", timezone="UTC"),
    start_date=first_hour(),
    end_date=last_hour(),
    catchup=False,
    max_active_runs=1,
    default_args={
        **TASKS,
        "pool": UPKEEP_POOL,
        "priority_weight": 1,
        "weight_rule": WeightRule.ABSOLUTE,
    },
    params={
        "tables": Param(
            [],
            type="array",
            items={"type": "string", "pattern": r"^[a-z]+\.[a-z0-9_]+$"},
            description="Tables to be kept up, such as gold.bars_1m; all if there are none.",
        ),
        "dry_run": Param(False, type="boolean", description="Only tell what would be done."),
    },
    tags=["upkeep"],
) as dag:

    @task
    def asked(params: Any = None) -> list[str]:
        """Return the verb that does what the params ask for."""
        tables = [word for table in params["tables"] for word in ("--table", table)]
        return ["maintain", *tables, *(["--dry-run"] if params["dry_run"] else [])]

    LakehouseJob(task_id="maintain", words=[asked()])

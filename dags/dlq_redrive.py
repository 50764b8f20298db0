"""Dead letters sent again, after what was wrong with them is mended.

Those of one `reason`, refused between `start` and `end`, narrowed down by `topic` and `stage`.
**listing** tells what would be sent, and unless `send` is set that is all: look at it first, then
run this again with the same params and `send`. Then **redrive** sends each as a new event of the
same key and payload.

Each try is a row of `ops.redrives`; who asked is in the log of **asked**. What was redriven is left
out the next time, so a second run sends nothing twice; `again` sends it all the same.
"""

from typing import Any

from airflow.sdk import DAG, Param, task
from lakehouse_cluster import LakehouseVerb
from lakehouse_defaults import REQUESTS_POOL, TASKS
from lakehouse_requests import redrive_words, tell_who
from lakehouse_windows import time_param

STAGES = ("producer", "lander", "batch")

with DAG(
    "dlq_redrive",
    description="Send dead letters again, after a fix",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={**TASKS, "pool": REQUESTS_POOL},
    params={
        "reason": Param(
            type="string",
            pattern="^[a-z_]+$",
            description="Why they were refused, such as unknown_schema_id.",
        ),
        "start": time_param("First time of refusal, UTC."),
        "end": time_param("Time of refusal before which they were, UTC."),
        "topic": Param(
            None,
            type=["null", "string"],
            pattern=r"^[a-z.]+$",
            description="Only those of this topic, such as market.trades.",
        ),
        "stage": Param(
            None, enum=[None, *STAGES], description="Only those that were refused by this."
        ),
        "max_attempts": Param(
            3, type="integer", minimum=1, description="Leave alone what was sent so often."
        ),
        "again": Param(False, type="boolean", description="Also what was redriven already."),
        "send": Param(False, type="boolean", description="Send them, instead of only looking."),
    },
    tags=["requests", "dead letters"],
) as dag:

    @task(retries=0)
    def asked(params: Any = None, dag_run: Any = None) -> list[str]:
        """Return the verb that does what the params ask for; tell who asks."""
        tell_who(dag_run, params["reason"])
        return redrive_words(params)

    @task.short_circuit
    def for_real(params: Any = None) -> bool:
        """Go on only if they are to be sent."""
        return bool(params["send"])

    words = asked()
    # What they say of each letter is in their logs: too much for the database.
    listing = LakehouseVerb(task_id="listing", words=[words, "--dry-run"], do_xcom_push=False)
    redrive = LakehouseVerb(task_id="redrive", words=[words], do_xcom_push=False)
    listing >> for_real() >> redrive

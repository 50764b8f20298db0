"""A customer's right to be forgotten: their key is destroyed, for good.

From then on nothing yields their personal data: every copy in the log, the tables and their
snapshots was encrypted with that key. What they did stays, under their id.

It **cannot be undone**, so the id is to be given twice, as `customer` and as `confirm`. Who asked
is in the log of **asked**, with the `reason`; the erasure itself in `ops.erasures`. Run again, it
changes nothing; after a failure, run it again.
"""

from typing import Any

from airflow.sdk import DAG, Param, task
from lakehouse_cluster import LakehouseVerb
from lakehouse_defaults import REQUESTS_POOL, TASKS
from lakehouse_requests import confirmed_customer, tell_who

CUSTOMER = r"^\S{1,64}$"

with DAG(
    "erasure_requests",
    description="Forget a customer, for good",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={**TASKS, "pool": REQUESTS_POOL},
    params={
        "customer": Param(type="string", pattern=CUSTOMER, description="The CRM's id."),
        "confirm": Param(type="string", pattern=CUSTOMER, description="The same id once more."),
        "reason": Param(
            type="string",
            minLength=1,
            description="What this is asked for by, such as a ticket; no personal data.",
        ),
    },
    tags=["requests", "privacy"],
) as dag:

    @task(retries=0)
    def asked(params: Any = None, dag_run: Any = None) -> str:
        """Return the customer, if both ids are the same; tell who asks."""
        tell_who(dag_run, params["reason"])
        return confirmed_customer(params)

    LakehouseVerb(task_id="erase", words=["erase", "--json", "--customer", asked()])

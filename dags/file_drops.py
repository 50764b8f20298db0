"""Files that somebody drops, each loaded by a run of its own.

`file_arrivals` is woken when a file in the drop folder is whole (half a file waits), and begins a
run of `file_drops` for each that is there. A file as it lies there gets one run, however often it
is told of.

A run of **file_drops** loads one file: into bronze, its bad rows into the dead letters, the verdict
into `ops.file_loads`. It is loaded once: the same bytes again are a duplicate. A file that is
refused whole fails its run, which no other try would mend: it lies in `refused`, the reason beside
it. By hand, give `file`, its path in the drop folder.

What follows from a file is made of it by the next hour's batch.
"""

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, task
from lakehouse_assets import DROP_FOLDER
from lakehouse_cluster import LakehouseVerb, lakehouse
from lakehouse_defaults import REQUESTS_POOL, TASKS
from lakehouse_files import WAITING, loads_of

FILE_DROPS = "file_drops"

with DAG(
    "file_arrivals",
    description="Whenever files have arrived: a run of file_drops for each",
    doc_md=__doc__,
    schedule=[DROP_FOLDER],
    catchup=False,
    # With one at a time, what comes during a run would wait for what comes after it
    # (https://github.com/apache/airflow/issues/56050).
    max_active_runs=16,
    default_args={**TASKS, "pool": REQUESTS_POOL},
    tags=["files"],
) as arrivals:

    @task
    def arrived() -> list[dict[str, Any]]:
        """Return the runs that load the files that are there.

        They are asked for anew: of several events in the same moment, Airflow may hand on the first
        and forget the others.
        """
        return loads_of(lakehouse(WAITING))

    TriggerDagRunOperator.partial(
        task_id="load",
        trigger_dag_id=FILE_DROPS,
        logical_date=None,
        skip_when_already_exists=True,
    ).expand_kwargs(arrived())

with DAG(
    FILE_DROPS,
    description="One dropped file, loaded into bronze",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=4,
    default_args={**TASKS, "pool": REQUESTS_POOL},
    params={
        "file": Param(
            type="string",
            minLength=1,
            description="Path in the drop folder, such as instruments/instruments_2024-08-09.csv.",
        )
    },
    tags=["files"],
) as dag:
    LakehouseVerb(task_id="load", words=["files", "load", "--", "{{ params.file }}"])

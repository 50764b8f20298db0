"""A dataset's tables made anew from bronze, beside those that are read meanwhile.

Bronze keeps every event as it came, so what a mended rule would have made of the past can be made
at any time. **plan** tells what would be read and written; with `dry_run` that is all. Then:

- **rebuild**, without `start` and `end`: all of the tables, as a new version beside the old. It is
  audited, compared with the old one by a checksum of each partition, and swapped in if they are
  equal, or if `accept_differences` says so. If they differ and it does not, the run fails and the
  tables stay as they are: look at the new version, then run this again with `accept_differences`.
  The old version is kept for `lakehouse rebuild rollback`. `version` names the one to be built, so
  that the same run twice builds once.
- **backfill**, with `start` and `end`: the hours of that stretch of ingestion time, one after the
  other, each built on branches of the tables and shown once it has passed its audit. Begun again,
  it goes on where it stopped; with `again` it does it all once more.

It has a pool of its own, so the hourly runs never wait for it.
"""

from typing import Any

from airflow.sdk import DAG, Param, task
from lakehouse_cluster import LakehouseJob, LakehouseVerb
from lakehouse_defaults import BACKFILL_POOL, DATASETS, TASKS
from lakehouse_rebuilds import rebuild_words
from lakehouse_windows import window_params

with DAG(
    "backfill_rebuild",
    description="A dataset's tables made anew from bronze, compared, swapped",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={**TASKS, "pool": BACKFILL_POOL},
    params={
        "dataset": Param(type="string", enum=[*DATASETS], description="Whose tables."),
        **window_params(),
        "version": Param(
            None,
            type=["null", "string"],
            pattern=r"^[a-z_]+_v[0-9]+$",
            description="The version to be built, such as trades_v2; left out, the next one.",
        ),
        "accept_differences": Param(
            False,
            type="boolean",
            description="Swap also if the new version differs, as after a mended rule.",
        ),
        "again": Param(
            False,
            type="boolean",
            description="Also the hours that a backfill of this stretch has done before.",
        ),
        "dry_run": Param(
            False, type="boolean", description="Only tell what would be read and written."
        ),
    },
    tags=["backfill"],
) as dag:

    @task
    def asked(params: Any = None) -> list[str]:
        """Return the verb that does what the params ask for."""
        return rebuild_words(params)

    @task.short_circuit
    def for_real(params: Any = None) -> bool:
        """Go on unless only the plan was asked for."""
        return not params["dry_run"]

    words = asked()
    plan = LakehouseVerb(task_id="plan", words=[words, "--dry-run"])
    plan >> for_real() >> LakehouseJob(task_id="rebuild", words=[words])

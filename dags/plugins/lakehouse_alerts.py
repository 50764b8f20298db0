"""What went wrong, told to Alertmanager, which knows whom to wake."""

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

# An alert that nobody repeats is over by then.
STANDS_FOR = timedelta(hours=1)
PAGE_SECONDS = 10.0


def raise_alert(name: str, labels: Mapping[str, str], summary: str) -> None:
    """Raise an alert; without the address of an Alertmanager nobody is told.

    Args:
        name: The alert's name; its runbook is ``docs/runbook/<name>.md``.
        labels: What it is about.
        summary: What happened, for whoever is woken.

    Raises:
        OSError: Alertmanager does not take it.
    """
    address = os.environ.get("LAKEHOUSE_ALERTMANAGER")
    if not address:
        return
    alert = {
        "labels": {"alertname": name, "severity": "warning", **labels},
        "annotations": {"summary": summary, "runbook_url": f"docs/runbook/{name}.md"},
        "endsAt": (datetime.now(UTC) + STANDS_FOR).isoformat(),
    }
    request = Request(
        f"{address}/api/v2/alerts",
        data=json.dumps([alert]).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=PAGE_SECONDS):
        pass


def tell_failure(context: Mapping[str, Any]) -> None:
    """Raise an alert about a task that failed for good; for ``on_failure_callback``."""
    task = context["ti"]
    raise_alert(
        "LakehouseTaskFailed",
        {"dag": task.dag_id, "task": task.task_id, "run": task.run_id},
        f"{task.dag_id}.{task.task_id} failed: {context.get('exception')}",
    )


async def tell_lateness(context: Mapping[str, Any]) -> None:
    """Raise an alert about a run that has not ended in time; for a `DeadlineAlert`."""
    run, deadline = context["dag_run"], context["deadline"]
    await asyncio.to_thread(
        raise_alert,
        "LakehouseHourLate",
        {"dag": run["dag_id"], "run": run["dag_run_id"]},
        f"{run['dag_id']}: {run['dag_run_id']} has not ended by {deadline['deadline_time']}",
    )

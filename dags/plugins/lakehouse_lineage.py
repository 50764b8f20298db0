"""Whose run it is: what a task submits names the task as its parent in OpenLineage's events."""

from typing import Any


def parent_of(task: Any) -> dict[str, str]:
    """Return the variables by which other tools, too, are told what run began theirs.

    Args:
        task: The task instance that runs.

    Returns:
        ``namespace/job/run`` of the task and of its DAG's run; nothing where lineage goes nowhere.
    """
    # Of a weight that a DAG file need not bear.
    from airflow.providers.openlineage.conf import is_disabled  # noqa: PLC0415

    if is_disabled():
        return {}
    from airflow.providers.openlineage.plugins import macros  # noqa: PLC0415

    return {
        "OPENLINEAGE_PARENT_ID": macros.lineage_parent_id(task),
        "OPENLINEAGE_ROOT_PARENT_ID": macros.lineage_root_parent_id(task),
    }

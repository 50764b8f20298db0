"""Answers questions about the DAGs, in the Python of Airflow's own environment.

A question is a line of JSON on standard input, ``{"ask": NAME, …}``; its answer is a line of JSON
on standard output, with ``error`` in it if there is none. Of the platform it needs nothing.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from copy import copy
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

# Airflow logs to standard output; nothing but answers is to be there.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

# Whatever processes DAG files has these loaded, so they do not count when DAGs are timed.
import airflow.providers.standard.operators.trigger_dagrun  # noqa: E402, F401
from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.sdk.definitions.param import ParamsDict  # noqa: E402
from airflow.sdk.exceptions import (  # noqa: E402
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.serialization.serialized_objects import DagSerialization  # noqa: E402
from airflow.timetables.base import DataInterval, TimeRestriction  # noqa: E402
from airflow.timetables.interval import CronDataIntervalTimetable  # noqa: E402
from airflow.triggers.callback import CallbackTrigger  # noqa: E402
from pendulum import instance  # noqa: E402

BAG = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
NOTHING = SimpleNamespace(
    run_id="by-hand",
    partition_key=None,
    data_interval_start=None,
    data_interval_end=None,
    triggering_user_name=None,
)


def describe() -> dict[str, Any]:
    """Return of each DAG what it consists of; of each file how long it took, and its errors."""
    return {
        "errors": BAG.import_errors,
        "seconds": {
            os.path.basename(one.file): one.duration.total_seconds()  # noqa: PTH119
            for one in BAG.dagbag_stats
        },
        # As the scheduler knows them: what cannot be handed on to it is no DAG.
        "dags": {name: _described(dag, _scheduled(name)) for name, dag in BAG.dags.items()},
    }


def _described(dag: Any, scheduled: Any) -> dict[str, Any]:
    return {
        "timetable": type(scheduled.timetable).__name__,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "description": dag.description,
        "start": dag.start_date and dag.start_date.isoformat(),
        "params": {name: dag.params.get_param(name).schema for name in dag.params},
        "tasks": {
            task.task_id: {
                "operator": task.task_type,
                "upstream": sorted(task.upstream_task_ids),
                "trigger_rule": task.trigger_rule.value,
                "pool": task.pool,
                "owner": task.owner,
                "retries": task.retries,
                "backoff": task.retry_exponential_backoff,
                "alerts": bool(task.on_failure_callback),
                "priority": task.priority_weight,
                "outlets": [outlet.name for outlet in task.outlets],
            }
            for task in dag.tasks
        },
    }


def intervals(dag: str, after: str, count: int) -> list[list[str]]:
    """Return the data intervals that follow one hour's, as the scheduler finds them."""
    timetable = _scheduled(dag).timetable
    assert isinstance(timetable, CronDataIntervalTimetable)
    start = instance(datetime.fromisoformat(after))
    last = DataInterval(start, start + timedelta(hours=1))
    found = []
    for _ in range(count):
        told = timetable.next_dagrun_info(
            last_automated_data_interval=last,
            restriction=TimeRestriction(earliest=None, latest=None, catchup=True),
        )
        assert told is not None
        last = told.data_interval
        found.append([time.in_timezone("UTC").isoformat() for time in (last.start, last.end)])
    return found


def hours_of_day(dag: str, hour: str) -> dict[str, list[str]]:
    """Return by partition of a DAG that an hour belongs to, which hours it waits for."""
    mapper = _scheduled(dag).timetable.default_partition_mapper
    days = mapper.to_downstream(hour)
    return {
        day: sorted(mapper.to_upstream(day)) for day in ([days] if isinstance(days, str) else days)
    }


def _scheduled(dag: str) -> Any:
    """Return a DAG as the scheduler knows it."""
    return DagSerialization.from_dict(DagSerialization.to_dict(BAG.dags[dag]))


def run(dag: str, conf: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Walk through a run without its verbs: return what each task would say, or what it gives.

    Args:
        dag: Its id.
        conf: Params that are given.
        run: Of ``run_id``, ``partition_key``, ``data_interval_start``, … those that it has.

    Returns:
        By task ``words`` of the platform's command line; of a task in Python what it ``returns``,
        its ``partitions``, or why it ``skipped`` or ``failed``. Nothing of what such a one holds
        back.
    """
    chosen = BAG.dags[dag]
    params = ParamsDict({name: copy(chosen.params.get_param(name)) for name in chosen.params})
    unknown = conf.keys() - set(params)
    assert not unknown, f"no params: {unknown}"
    for name, value in conf.items():
        params.get_param(name).value = value
    moments = {"data_interval_start", "data_interval_end", "run_after"}
    times = {name: datetime.fromisoformat(run[name]) for name in moments & run.keys()}
    walk = Walk(params.validate(), SimpleNamespace(**{**vars(NOTHING), **run, **times}))
    for task in chosen.topological_sort():
        walk.take(task)
    return walk.told


class Walk:
    """A run whose verbs are not run."""

    # Of what is there once for each dataset, the first.
    map_index = 0
    _upstream_map_indexes: Mapping[str, int] = {}

    def __init__(self, params: Mapping[str, Any], dag_run: Any) -> None:
        self.told: dict[str, Any] = {}
        self.given: dict[str, Any] = {}
        self.held: set[str] = set()
        self.partitions: list[str] = []
        accessor = SimpleNamespace(add_partitions=self.partitions.extend)
        self.context = {
            "params": params,
            "dag_run": dag_run,
            "ti": self,
            "outlet_events": _Always(accessor),
        }

    def xcom_pull(self, task_ids: str, key: str = "return_value", **_: Any) -> Any:
        """Return what a task has given: of a verb a stand-in."""
        found = self.given.get(task_ids, f"<{task_ids}>")
        return found[key] if isinstance(found, dict) and key != "return_value" else found

    def take(self, task: Any) -> None:
        """Go one task on."""
        name = task.task_id
        if task.upstream_task_ids & self.held:
            self.held.add(name)
            return
        if hasattr(task, "partial_kwargs"):
            return
        task = task.prepare_for_execution()
        task.render_template_fields(self.context)
        if hasattr(task, "words"):
            flat = sys.modules["lakehouse_cluster"]._flat
            self.told[name] = {"words": flat(task.words)}
        elif hasattr(task, "python_callable"):
            self._call(name, task)

    def _call(self, name: str, task: Any) -> None:
        wanted = task.python_callable.__code__.co_varnames[
            : task.python_callable.__code__.co_argcount
        ]
        ours = {one: self.context[one] for one in wanted if one in self.context}
        try:
            given = task.python_callable(*task.op_args, **{**ours, **task.op_kwargs})
        except AirflowSkipException as skipped:
            self.told[name] = {"skipped": str(skipped)}
            self.held.add(name)
        except (AirflowException, ValueError) as error:
            self.told[name] = {"failed": f"{type(error).__name__}: {error}"}
            self.held.add(name)
        else:
            self.given[name] = given
            self.told[name] = {"returns": given}
            if self.partitions:
                self.told[name]["partitions"], self.partitions = list(self.partitions), []
            if "ShortCircuit" in task.task_type and not given:
                self.held.add(name)


class _Always(dict[Any, Any]):
    """Has the same for whatever it is asked."""

    def __init__(self, it: Any) -> None:
        super().__init__()
        self.it = it

    def __missing__(self, _key: Any) -> Any:
        return self.it


def loads(files: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs that load some files."""
    told = "\n".join(map(json.dumps, files))
    found: list[dict[str, Any]] = sys.modules["lakehouse_files"].loads_of(told)
    return found


class Store(dict[str, Any]):
    """What Airflow keeps for a task from try to try."""

    def set(self, name: str, value: Any) -> None:
        """Keep a value."""
        self[name] = value


STORES: dict[str, Store] = {}


def try_job(
    store: str, series: int, of: Any = None, step: str | None = None, patience: float = 0.0
) -> dict[str, Any]:
    """Let a task that submits to the cluster begin; return what it goes on with, or waits for."""
    job = sys.modules["lakehouse_cluster"].LakehouseJob(
        task_id="job", words=["batch"], of=of, step=step, patience=patience
    )
    kept = STORES.setdefault(store, Store())
    context = {"task_state_store": kept, "ti": SimpleNamespace(max_tries=series)}
    try:
        return {"done": job.execute(context)}
    except TaskDeferred as deferred:
        return {"waits_for": deferred.kwargs["driver"] if deferred.kwargs else None}


def arrivals(count: int) -> list[Any]:
    """Return what the watch of the drop folder fires with, so often; then take it down."""

    async def fired() -> list[Any]:
        watch, found = sys.modules["lakehouse_files"].DropFolderTrigger().run(), []
        async for event in watch:
            found.append(event.payload)
            if len(found) == count:
                break
        await watch.aclose()
        return found

    return asyncio.run(fired())


def verb(words: list[str]) -> dict[str, Any]:
    """Let a task run a verb; return what it said, or how it failed, and whether it tries again."""
    task = sys.modules["lakehouse_cluster"].LakehouseVerb(task_id="verb", words=words)
    try:
        return {"said": task.execute({})}
    except AirflowException as error:
        return {"failed": str(error), "again": not isinstance(error, AirflowFailException)}


def datasets() -> list[str]:
    """Return the datasets that the DAGs know."""
    return list(sys.modules["lakehouse_defaults"].DATASETS)


def late(run: str, by: str) -> list[str]:
    """Do what the triggerer does of an hour that is late; return how that goes."""
    (alert,) = BAG.dags["hourly_lambda"].deadline
    told = {"dag_run": {"dag_id": "hourly_lambda", "dag_run_id": run}}
    kwargs = {**alert.callback.kwargs, "context": {**told, "deadline": {"deadline_time": by}}}

    async def states() -> list[str]:
        called = CallbackTrigger(alert.callback.path, kwargs).run()
        return [str(event.payload["state"]) async for event in called]

    return asyncio.run(states())


def fail(task: str, error: str) -> None:
    """Let a task of the hourly run fail for good."""
    failed = BAG.dags["hourly_lambda"].get_task(task)
    instance = SimpleNamespace(dag_id=failed.dag_id, task_id=task, run_id="by-hand")
    for callback in failed.on_failure_callback:
        callback({"ti": instance, "exception": AirflowException(error)})


def parent(task: str) -> dict[str, str]:
    """Return what a verb is told of the task of an hourly run that submits it."""
    at = datetime.fromisoformat(os.environ["LAKEHOUSE_FIRST_HOUR"])
    of_run = SimpleNamespace(dag_id="hourly_lambda", logical_date=at, conf={}, clear_number=0)
    told: dict[str, str] = sys.modules["lakehouse_lineage"].parent_of(
        SimpleNamespace(
            dag_id="hourly_lambda",
            task_id=task,
            try_number=1,
            map_index=0,
            dag_run=of_run,
            get_template_context=lambda: {"dag_run": of_run},
        )
    )
    return told


QUESTIONS: Mapping[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (
        *(describe, intervals, hours_of_day, run, loads, try_job, arrivals, verb, datasets),
        *(late, fail, parent),
    )
}

if __name__ == "__main__":
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = {"answer": QUESTIONS[question.pop("ask")](**question)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), file=ANSWERS, flush=True)

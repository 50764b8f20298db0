"""How lineage is told: OpenLineage's events, to a service or into a folder, to the harm of nobody.

A run that Airflow has begun names Airflow's as its parent, by the variables that other tools are
told it by, too: ``OPENLINEAGE_PARENT_ID`` and ``OPENLINEAGE_ROOT_PARENT_ID``, each
``namespace/job/run``.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit
from urllib.request import url2pathname
from uuid import UUID

import structlog
from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    OutputDatasetFacet,
    RunFacet,
    column_lineage_dataset,
    error_message_run,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
    symlinks_dataset,
)
from openlineage.client.transport import Transport
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import HttpConfig, HttpTransport

from lakehouse.catalog import CATALOG_NAME
from lakehouse.lineage import Dataset, Flow, LineageRun
from lakehouse.settings import Settings

NAMESPACE = "lakehouse"
PRODUCER = f"lakehouse/{version('lakehouse')}"
PARENT, ROOT = "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID"
# A run waits for it when it begins and when it ends.
REQUEST_SECONDS = 2.0
NO_FACETS: Mapping[str, RunFacet] = MappingProxyType({})

_log = structlog.get_logger(__name__)


class OpenLineageTeller:
    """Tells a service, or a folder, of runs; says once when it cannot."""

    def __init__(self, process: str, settings: Settings, address: str) -> None:
        self._settings, self._address = settings, address
        self._transport = _transport(process, address)
        self._flows: dict[str, Flow] = {}
        self._fails = False

    def started(self, run: LineageRun, describe: Callable[[Settings], Flow]) -> None:
        """Tell that a run has begun."""
        self._tell(lambda: self._begin(run, describe))

    def completed(self, run: LineageRun) -> None:
        """Tell that a run has ended well."""
        self._tell(lambda: self._end(RunState.COMPLETE, run))

    def failed(self, run: LineageRun, error: BaseException) -> None:
        """Tell that a run has failed."""
        said = error_message_run.ErrorMessageRunFacet(f"{type(error).__name__}: {error}", "python")
        self._tell(lambda: self._end(RunState.FAIL, run, {"errorMessage": said}))

    def _begin(self, run: LineageRun, describe: Callable[[Settings], Flow]) -> None:
        self._flows[run.run_id] = flow = describe(self._settings)
        self._emit(RunState.START, run, flow)

    def _end(
        self, state: RunState, run: LineageRun, more: Mapping[str, RunFacet] = NO_FACETS
    ) -> None:
        self._emit(state, run, self._flows.pop(run.run_id), more)

    def _tell(self, telling: Callable[[], None]) -> None:
        try:
            telling()
        except Exception as error:  # whatever it is: no run fails for want of its lineage
            if not self._fails:
                _log.warning("lineage is lost", address=self._address, error=str(error))
            self._fails = True
        else:
            self._fails = False

    def _emit(
        self, state: RunState, run: LineageRun, flow: Flow, more: Mapping[str, RunFacet] = NO_FACETS
    ) -> None:
        event = RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            producer=PRODUCER,
            eventType=state,
            run=Run(str(UUID(run.run_id)), {**_run_facets(run), **more}),
            job=Job(NAMESPACE, run.job, _job_facets(run)),
            inputs=[
                InputDataset(one.name.namespace, one.name.name, facets=_facets(one))
                for one in flow.inputs
            ],
            outputs=[_output(one, run.rows.get(one.alias or "")) for one in flow.outputs],
        )
        self._transport.emit(event)


def _transport(process: str, address: str) -> Transport:
    if not address.startswith("file:"):
        return HttpTransport(HttpConfig(address, timeout=REQUEST_SECONDS, retry={"total": 0}))
    folder = Path(url2pathname(urlsplit(address).path))
    folder.mkdir(parents=True, exist_ok=True)
    # Opened for each event, and written to its end in one piece: processes may share it.
    return FileTransport(FileConfig(str(folder / f"{process}.jsonl"), append=True))


def _run_facets(run: LineageRun) -> dict[str, RunFacet]:
    facets: dict[str, RunFacet] = {}
    if run.interval:
        start, end = run.interval.start.isoformat(), run.interval.end.isoformat()
        facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(start, end)
    if parent := os.environ.get(PARENT):
        namespace, job, run_id = parent.rsplit("/", 2)
        facets["parent"] = parent_run.ParentRunFacet(
            parent_run.Run(run_id), parent_run.Job(namespace, job), _root()
        )
    return facets


def _root() -> parent_run.Root | None:
    if not (root := os.environ.get(ROOT)):
        return None
    namespace, job, run_id = root.rsplit("/", 2)
    return parent_run.Root(parent_run.RootRun(run_id), parent_run.RootJob(namespace, job))


def _job_facets(run: LineageRun) -> dict[str, JobFacet]:
    processing = "STREAMING" if run.is_streaming else "BATCH"
    return {"jobType": job_type_job.JobTypeJobFacet(processing, "LAKEHOUSE", "JOB")}


def _output(dataset: Dataset, rows: int | None) -> OutputDataset:
    facets = _facets(dataset)
    if dataset.made_of:
        facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
            {
                column: column_lineage_dataset.Fields(
                    [
                        column_lineage_dataset.InputField(
                            name.namespace,
                            name.name,
                            source,
                            [column_lineage_dataset.Transformation("DIRECT")],
                        )
                        for name, source in sources
                    ]
                )
                for column, sources in dataset.made_of.items()
            }
        )
    written: dict[str, OutputDatasetFacet] = {}
    if rows is not None:
        written["outputStatistics"] = (
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rows)
        )
    return OutputDataset(
        dataset.name.namespace, dataset.name.name, facets=facets, outputFacets=written
    )


def _facets(dataset: Dataset) -> dict[str, DatasetFacet]:
    facets: dict[str, DatasetFacet] = {}
    if dataset.columns:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(
            [
                schema_dataset.SchemaDatasetFacetFields(name, type_, meaning)
                for name, type_, meaning in dataset.columns
            ]
        )
    if dataset.alias:
        facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet(
            [symlinks_dataset.Identifier(CATALOG_NAME, dataset.alias, "TABLE")]
        )
    return facets

"""Lineage: which run made which tables of which, column by column, told as OpenLineage events.

Datasets are named by OpenLineage's convention: a topic by its broker, a table by where it lies.
Without an address to tell it to nothing is told, and a run costs some microseconds more.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from lakehouse.intervals import Interval
from lakehouse.settings import Settings


@dataclass(frozen=True)
class DatasetName:
    """What a topic or a table is called: ``kafka://host:port`` and ``market.trades``."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Dataset:
    """A topic or a table, as a run reads or writes it.

    Attributes:
        alias: What the catalog calls a table: ``silver.trades``.
        columns: Name, type and meaning of each of a table's columns.
        made_of: By column of a table that is written, the columns that its values are made of.
    """

    name: DatasetName
    alias: str | None = None
    columns: tuple[tuple[str, str, str], ...] = ()
    made_of: Mapping[str, tuple[tuple[DatasetName, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Flow:
    """What a run reads and what it writes."""

    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]


@dataclass(frozen=True)
class LineageRun:
    """A run of a job, such as ``batch.trades``.

    Attributes:
        is_streaming: It goes on for as long as nobody stops it.
        rows: By table, how many rows it has written; filled as it goes on.
    """

    job: str
    run_id: str
    interval: Interval | None = None
    is_streaming: bool = False
    rows: dict[str, int] = field(default_factory=dict)


class Teller(Protocol):
    """Who tells of runs, and never raises."""

    def started(self, run: LineageRun, describe: Callable[[Settings], Flow]) -> None:
        """Tell that a run has begun."""

    def completed(self, run: LineageRun) -> None:
        """Tell that a run has ended well."""

    def failed(self, run: LineageRun, error: BaseException) -> None:
        """Tell that a run has failed."""


_tellers: list[Teller] = []


def configure_lineage(process: str, settings: Settings) -> None:
    """Tell the lineage of this process's runs to the address of the settings, if there is one.

    Args:
        process: Names its file, where the address is a folder.
        settings: Name the address.
    """
    _tellers.clear()
    if settings.openlineage_url is None:
        return
    # A fifth of a second, for those who tell nobody.
    from lakehouse.openlineage import OpenLineageTeller  # noqa: PLC0415

    _tellers.append(OpenLineageTeller(process, settings, settings.openlineage_url))


@contextmanager
def lineage_run(
    job: str,
    describe: Callable[[Settings], Flow],
    *,
    run_id: str | None = None,
    interval: Interval | None = None,
    is_streaming: bool = False,
) -> Iterator[dict[str, int]]:
    """Tell of a run that it begins, and how it ends.

    Args:
        job: Its job's name.
        describe: Returns what it reads and writes; asked only if anybody is told.
        run_id: Of the run log; another one when not given.
        interval: The data interval that it is about.
        is_streaming: It goes on for as long as nobody stops it.

    Yields:
        Where to say, by table, how many rows were written.
    """
    run = LineageRun(job, run_id or uuid4().hex, interval, is_streaming)
    for teller in _tellers:
        teller.started(run, describe)
    try:
        yield run.rows
    except BaseException as error:
        for teller in _tellers:
            teller.failed(run, error)
        raise
    for teller in _tellers:
        teller.completed(run)

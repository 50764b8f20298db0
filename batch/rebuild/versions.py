"""The versions of tables that are rebuilt together: which there are, and what each has seen.

A version that was built is a branch of each table, one that was replaced a tag; both have the
version's name, such as ``trades_v2``. What the tables show is a version, too, the first of which
nobody has built in one go. What each has seen of the streams is in the run log.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyiceberg.catalog import Catalog
from pyiceberg.table.refs import SnapshotRefType

from batch.dataset import TableSet
from batch.runs import Run, RunLog, Status, gaps
from lakehouse.intervals import Interval

REBUILD = "rebuild"


@dataclass(frozen=True)
class Version:
    """One version of the tables of some datasets.

    Attributes:
        name: That of its branches or tags.
        seen: By dataset, the run that made it: its interval is all that the version has seen.
    """

    name: str
    seen: Mapping[str, Run] = field(default_factory=dict)


@dataclass(frozen=True)
class Versions:
    """What the catalog and the run log know of the versions of datasets that share tables.

    Attributes:
        datasets: All of them.
        kind: Of the runs by which their tables are published.
    """

    catalog: Catalog
    datasets: Sequence[TableSet]
    kind: str

    @property
    def group(self) -> str:
        """What the datasets are called together."""
        return "_".join(dataset.name for dataset in self.datasets)

    @property
    def tables(self) -> list[str]:
        """The tables of the datasets, each once, in the order in which they are published."""
        return list(dict.fromkeys(table for one in self.datasets for table in one.tables))

    @property
    def current(self) -> str:
        """The name of the version that the tables show."""
        swaps = [run.cause or "" for run in self._runs(self.kind, Status.PUBLISHED)]
        return max(swaps, key=_number, default=self._name(1))

    @property
    def next(self) -> str:
        """A name that no version has had."""
        builds = [run.cause or "" for run in self._runs(REBUILD, *Status)]
        return self._name(max([1, *map(_number, builds)]) + 1)

    def building(self) -> list[Run]:
        """Return the runs of builds that have neither ended nor failed."""
        return self._runs(REBUILD, Status.STARTED)

    def swapping(self) -> dict[str, Run]:
        """Return by dataset the runs of a swap that has begun and not ended."""
        return {run.dataset: run for run in self._runs(self.kind, Status.STARTED)}

    def built(self) -> Version | None:
        """Return the newest version that was built to its end and is not dropped."""
        built = self._runs(REBUILD, Status.BUILT)
        branches = self._refs(SnapshotRefType.BRANCH)
        names = {run.cause for run in built if run.cause in branches}
        if not names:
            return None
        name = max(map(str, names), key=_number)
        return Version(name, {run.dataset: run for run in built if run.cause == name})

    @property
    def kept(self) -> str | None:
        """The name of the version that the present one has replaced, if it is still there."""
        return max(self._refs(SnapshotRefType.TAG), key=_number, default=None)

    def unseen(self, dataset: str, swap: Run) -> list[Interval]:
        """Return what the version that a swap has replaced had not seen by then, in order.

        What batch published while the swap was at work counts as unseen, whether it was or not.
        """
        before = [
            one.run.interval
            for one in RunLog(self.catalog).newest(self.kind, dataset)
            if one.status == Status.PUBLISHED and one.recorded_at < swap.started_at
        ]
        return gaps(swap.interval, before)

    def swap_to(self, name: str) -> dict[str, Run]:
        """Return by dataset the runs by which a version has become the present one."""
        return {
            run.dataset: run for run in self._runs(self.kind, Status.PUBLISHED) if run.cause == name
        }

    def names(self) -> list[str]:
        """Return the names of all branches and tags that versions have."""
        return sorted(self._refs(SnapshotRefType.BRANCH) | self._refs(SnapshotRefType.TAG))

    def _runs(self, kind: str, *statuses: Status) -> list[Run]:
        """Return the runs that have to do with versions and are at some statuses, oldest first."""
        log = RunLog(self.catalog)
        found = [one for dataset in self.datasets for one in log.newest(kind, dataset.name)]
        runs = [one.run for one in found if one.status in statuses]
        mine = [run for run in runs if re.fullmatch(self._pattern, run.cause or "")]
        return sorted(mine, key=lambda run: run.started_at)

    def _refs(self, kind: SnapshotRefType) -> set[str]:
        return {
            name
            for table in map(self.catalog.load_table, self.tables)
            for name, ref in table.metadata.refs.items()
            if ref.snapshot_ref_type == kind and re.fullmatch(self._pattern, name)
        }

    @property
    def _pattern(self) -> str:
        return rf"{re.escape(self.group)}_v\d+"

    def _name(self, number: int) -> str:
        return f"{self.group}_v{number}"


def _number(name: str) -> int:
    return int(name.rpartition("_v")[2])

"""What runs have left: their branches and tags, and which runs are still at work.

A run that ends drops its branches itself. One that is killed leaves them, and one whose rows were
put in quarantine does so on purpose. Each pins a snapshot with all of its files for good.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyiceberg.table import Table

from batch.publication import QUARANTINE
from batch.runs import RunState

# Begins the name of every branch and tag that a run makes for itself; the run's id follows.
RUN_REF = "run_"
# A run gives no sign of life while it computes. The longest interval that one run is meant for is
# a day, which takes less than an hour; a dead run's branch costs space alone.
DEAD_AFTER = timedelta(hours=6)
# Rows in quarantine are there to be looked at, by somebody who may be on leave; the run can be
# repeated from bronze at any time.
QUARANTINED_FOR = timedelta(days=30)


@dataclass(frozen=True)
class RunRefs:
    """The branches and tags of runs that a table has.

    Attributes:
        dead: Those of runs that have ended or died, and what has been in quarantine for long.
        live: Those of runs that may be at work.
    """

    dead: tuple[str, ...]
    live: tuple[str, ...]


def run_refs(table: Table, runs: Mapping[str, RunState], as_of: datetime) -> RunRefs:
    """Tell the branches and tags of dead runs from those of living ones.

    A branch of a run that the log does not know is somebody else's, and counts as alive.

    Args:
        table: A table, loaded before the runs were read: a run is recorded before its branches.
        runs: The runs of the log, by id.
        as_of: The time that ages are measured against.
    """
    dead: list[str] = []
    live: list[str] = []
    for name in sorted(table.metadata.refs):
        if name.startswith(f"{QUARANTINE}{RUN_REF}"):
            run = runs.get(name.removeprefix(f"{QUARANTINE}{RUN_REF}"))
            if run is not None and as_of - run.recorded_at >= QUARANTINED_FOR:
                dead.append(name)
            continue
        if not name.startswith(RUN_REF):
            continue
        run = runs.get(name.removeprefix(RUN_REF))
        is_dead = run is not None and not is_alive(run, as_of, worked_at=_committed_at(table, name))
        (dead if is_dead else live).append(name)
    return RunRefs(tuple(dead), tuple(live))


def is_alive(run: RunState, as_of: datetime, *, worked_at: datetime | None = None) -> bool:
    """Tell whether a run may be at work.

    Args:
        run: What the log says of it.
        as_of: The time that ages are measured against.
        worked_at: When it last committed to a branch of its own, if it did.
    """
    if run.has_ended:
        return False
    last_sign = max(run.recorded_at, worked_at or run.recorded_at)
    return as_of - last_sign < DEAD_AFTER


def pinned_by(runs: Iterable[RunState], as_of: datetime) -> frozenset[str]:
    """Return the tables of which runs that may be at work read a snapshot by its id."""
    alive = (run for run in runs if is_alive(run, as_of))
    return frozenset(table for run in alive for table in run.snapshots)


def _committed_at(table: Table, ref: str) -> datetime | None:
    """Return when the newest snapshot of a branch was made, if it is not on the main line."""
    head = table.metadata.refs[ref].snapshot_id
    snapshot = table.snapshot_by_id(head)
    if snapshot is None or head in {entry.snapshot_id for entry in table.history()}:
        return None
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)

"""The parts of upkeep that need no engine: partitions of time, runs and what they left, expiry."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyspark.errors import IllegalArgumentException

import schemas
from batch.conflicts import CommitConflictError, conflicts
from batch.maintenance.job import is_streamed, small_files
from batch.maintenance.leftovers import DEAD_AFTER, QUARANTINED_FOR, pinned_by, run_refs
from batch.maintenance.partitions import TimePartitions
from batch.maintenance.sizes import TableSize, size_of
from batch.maintenance.snapshots import expirable
from batch.refs import drop_refs
from batch.retirement import mark_retired, marks
from batch.runs import Run, RunLog, RunState, Status
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from schemas import tables

NOW = datetime.now(UTC)
TABLE = "gold.bars_1m"


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    tables.apply(catalog)
    return catalog


@pytest.fixture
def append(catalog: Catalog) -> Callable[..., Table]:
    """Append a bar of an hour of 2026-01-01, to a branch if one is named; return the table."""

    def append(hour: int = 0, branch: str = "main") -> Table:
        start = datetime(2026, 1, 1, hour, tzinfo=UTC)
        row: dict[str, Any] = {"venue": "v", "symbol": "S", "window_start": start}
        row |= {"volume": 0, "notional": 0, "trade_count": 0, "log_partition": 0, "last_offset": 1}
        table = catalog.load_table(TABLE)
        schema = schemas.contract(TABLE).arrow_schema()
        table.append(pa.Table.from_pylist([row], schema=schema), branch=branch)
        return catalog.load_table(TABLE)

    return append


def state(run_id: str = "a", *, hours_ago: float = 0.0, has_ended: bool = False) -> RunState:
    return RunState(
        run_id, NOW - timedelta(hours=hours_ago), has_ended, {"bronze.market_trades": 1}
    )


@pytest.mark.parametrize(
    ("table", "start"),
    [
        ("silver.trades", "event_time < TIMESTAMP '2026-03-14T15:00:00+00:00'"),
        ("bronze.market_trades", "ingested_at < TIMESTAMP '2026-03-14T00:00:00+00:00'"),
        ("gold.bars_1h", "window_start < TIMESTAMP '2026-03-01T00:00:00+00:00'"),
        ("gold.market_daily", "business_date < DATE '2026-01-01'"),
    ],
)
def test_a_partition_is_whole_before_it_begins(table: str, start: str) -> None:
    time = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)
    partitions = TimePartitions.of(schemas.contract(table))
    assert partitions is not None
    whole = partitions.whole_before(time)
    assert whole.sql == start
    assert whole.row_filter == start.replace(" TIMESTAMP", "").replace(" DATE", "")
    if table == "silver.trades":
        assert partitions.before(time).sql == f"event_time < TIMESTAMP '{time.isoformat()}'"


def test_streams_write_bronze_and_the_twins() -> None:
    streamed = {name for name, stated in schemas.contracts().items() if is_streamed(stated)}
    assert {"bronze.market_trades", "bronze.dead_letters", "silver.trades_rt"} <= streamed
    assert not {"silver.trades", "gold.bars_1m", "ops.runs"} & streamed


def test_a_size_is_that_of_the_current_snapshot(
    catalog: Catalog, append: Callable[..., Table]
) -> None:
    assert size_of(catalog.load_table(TABLE)) == TableSize()
    append(0)
    size = size_of(append(1))
    assert (size.files, size.manifests, size.snapshots) == (2, 2, 2)
    assert size.bytes > 0


def test_only_partitions_with_many_small_files_are_compacted(append: Callable[..., Table]) -> None:
    for _ in range(4):
        table = append()
    assert small_files(table, None) == 0
    table = append()
    assert small_files(table, None) == 5
    partitions = TimePartitions.of(schemas.contract(TABLE))
    assert partitions is not None
    assert small_files(table, partitions.before(datetime(2026, 1, 1, tzinfo=UTC))) == 0
    assert small_files(table, partitions.before(datetime(2026, 1, 1, 0, 1, tzinfo=UTC))) == 5


def test_refs_of_dead_runs_are_told_from_those_of_living_ones(
    catalog: Catalog, append: Callable[..., Table]
) -> None:
    head = append().current_snapshot()
    assert head is not None
    names = ("run_ended", "run_fresh", "run_silent", "run_working", "run_unknown", "reconciled")
    with catalog.load_table(TABLE).manage_snapshots() as changes:
        for name in names:
            changes.create_branch(head.snapshot_id, name)
    table = append(1, branch="run_working")
    long_ago = DEAD_AFTER / timedelta(hours=1) + 1
    runs = {
        "ended": state(has_ended=True),
        "fresh": state(),
        "silent": state(hours_ago=long_ago),
        "working": state(hours_ago=long_ago),
    }
    found = run_refs(table, runs, NOW)
    assert found.dead == ("run_ended", "run_silent")
    assert found.live == ("run_fresh", "run_unknown", "run_working")
    # Nor has a run that works been silent for as long as it works.
    assert "run_working" in run_refs(table, runs, NOW + 2 * DEAD_AFTER).dead

    drop_refs(catalog, TABLE, [*found.dead, "run_that_somebody_else_has_dropped"])
    left = set(catalog.load_table(TABLE).refs())
    assert left == {"main", "reconciled", *found.live}


def test_what_is_in_quarantine_is_dropped_in_the_end(
    catalog: Catalog, append: Callable[..., Table]
) -> None:
    head = append().current_snapshot()
    assert head is not None
    with catalog.load_table(TABLE).manage_snapshots() as changes:
        for run_id in ("old", "young", "unknown"):
            changes.create_branch(head.snapshot_id, f"quarantine_run_{run_id}")
    failed_at = {"old": QUARANTINED_FOR, "young": QUARANTINED_FOR - timedelta(hours=1)}
    runs = {
        run_id: state(run_id, hours_ago=age / timedelta(hours=1), has_ended=True)
        for run_id, age in failed_at.items()
    }
    found = run_refs(catalog.load_table(TABLE), runs, NOW)
    # None of them is in the way of what would give the table another snapshot.
    assert (found.dead, found.live) == (("quarantine_run_old",), ())


def test_what_a_run_at_work_reads_is_pinned() -> None:
    long_ago = DEAD_AFTER / timedelta(hours=1) + 1
    assert pinned_by([state()], NOW) == {"bronze.market_trades"}
    assert pinned_by([state(has_ended=True), state(hours_ago=long_ago)], NOW) == frozenset()


def test_a_mark_of_retirement_only_moves_on(catalog: Catalog) -> None:
    assert marks(catalog, [TABLE]) == {}
    for month, expected in ((3, 3), (2, 3), (4, 4)):
        mark_retired(catalog, TABLE, datetime(2026, month, 1, tzinfo=UTC))
        assert marks(catalog, [TABLE, "gold.bars_1h"]) == {
            TABLE: datetime(2026, expected, 1, tzinfo=UTC)
        }
    # It is nothing that a contract states, so contracts leave it.
    tables.apply(catalog)
    assert marks(catalog, [TABLE]) == {TABLE: datetime(2026, 4, 1, tzinfo=UTC)}


def test_the_run_log_tells_what_has_ended(catalog: Catalog) -> None:
    log, interval = RunLog(catalog), Interval(NOW, NOW + timedelta(hours=1))
    going, done = (Run("batch", "trades", interval, ()) for _ in range(2))
    for run in (going, done):
        log.record(run, Status.STARTED, snapshots={"bronze.market_trades": 7})
    log.record(done, Status.PUBLISHED, snapshots={"bronze.market_trades": 8})
    states = log.states()
    assert not states[going.run_id].has_ended
    assert states[done.run_id].has_ended
    assert states[going.run_id].snapshots == {"bronze.market_trades": 7}


def test_old_snapshots_expire_unless_somebody_needs_them(
    catalog: Catalog, append: Callable[..., Table]
) -> None:
    for hour in range(4):
        append(hour)
    first, tagged, third, head = (s.snapshot_id for s in catalog.load_table(TABLE).snapshots())
    with catalog.load_table(TABLE).manage_snapshots() as changes:
        changes.create_tag(tagged, "reconciled").create_branch(head, "mine").create_branch(
            head, "dropped"
        )
    for branch in ("mine", "mine", "dropped"):
        table = append(5, branch=branch)
    abandoned = table.metadata.refs["dropped"].snapshot_id
    catalog.load_table(TABLE).manage_snapshots().remove_branch("dropped").commit()

    table = catalog.load_table(TABLE)
    kept_for = timedelta(milliseconds=int(table.properties["history.expire.max-snapshot-age-ms"]))
    assert kept_for == timedelta(days=7)
    assert expirable(table, as_of=datetime.now(UTC) + kept_for / 2, carries_progress=False) == []
    doomed = expirable(table, as_of=datetime.now(UTC) + 2 * kept_for, carries_progress=False)
    assert doomed == sorted([first, third, abandoned])


def test_where_progress_is_carried_the_way_to_it_stays(
    catalog: Catalog, append: Callable[..., Table]
) -> None:
    """As if a lander had written: without the key of its progress nothing may go."""
    for hour in range(3):
        table = append(hour)
    assert expirable(table, as_of=NOW + timedelta(days=30), carries_progress=True) == []


class Raised:
    """A Java exception, as far as Py4J's error asks it."""

    _target_id = "o1"
    _gateway_client = None

    def __init__(self, text: str) -> None:
        self.text = text


@pytest.mark.parametrize(
    "said",
    [
        "org.apache.iceberg.exceptions.ValidationException: Missing required files to delete: a",
        "Cannot expire 7. Still referenced by refs: [reconciled]",
    ],
)
def test_a_lost_race_is_worth_another_try(said: str) -> None:
    expected = pytest.raises(CommitConflictError, match="prune of it: another writer was faster")
    with expected, conflicts("prune of it"):
        raise IllegalArgumentException(said)


def test_what_is_no_lost_race_is_raised_as_it_is() -> None:
    with pytest.raises(IllegalArgumentException, match="no such table"), conflicts("it"):
        raise IllegalArgumentException("no such table")


def test_javas_own_errors_are_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Cannot commit rewrite because of a ValidationException"
    monkeypatch.setattr(Py4JJavaError, "__str__", lambda _: said)
    with pytest.raises(CommitConflictError), conflicts("it"):
        raise Py4JJavaError(said, Raised(said))

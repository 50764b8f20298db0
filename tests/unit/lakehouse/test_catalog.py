"""The catalog: the history of a table is in order, whatever the clock says."""

import time
from itertools import pairwise

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings

ROWS = pa.table({"number": pa.array([1], pa.int64())})
HOUR_MS = 3_600_000


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    catalog.create_namespace("gold")
    return catalog


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = catalog.create_table("gold.numbers", ROWS.schema)
    table.append(ROWS)
    return table


def an_hour_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock back, as far as PyIceberg's commits read it."""
    now, updates = time.time, "pyiceberg.table.update.datetime_to_millis"
    monkeypatch.setattr(time, "time", lambda: now() - HOUR_MS / 1000)
    monkeypatch.setattr(updates, lambda _: int(time.time() * 1000))


def assert_in_order(table: Table) -> None:
    metadata = table.metadata
    for log in (metadata.metadata_log, metadata.snapshot_log, metadata.snapshots):
        times = [entry.timestamp_ms for entry in log]
        assert times == sorted(times)
        assert not times or times[-1] <= metadata.last_updated_ms
    for entry, snapshot in zip(metadata.snapshot_log, metadata.snapshots, strict=True):
        assert (entry.snapshot_id, entry.timestamp_ms) == (
            snapshot.snapshot_id,
            snapshot.timestamp_ms,
        )


def test_commits_under_a_clock_that_has_stepped_back(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table.metadata.last_updated_ms
    with monkeypatch.context() as stepped:
        an_hour_earlier(stepped)
        table.append(ROWS)
        with table.transaction() as changes:
            changes.set_properties({"a": "b"})
        with catalog.load_table("gold.numbers").manage_snapshots() as refs:
            refs.create_tag(table.metadata.snapshots[0].snapshot_id, "first")
        stored = catalog.load_table("gold.numbers")
        assert_in_order(stored)
        assert stored.metadata.last_updated_ms == before
        assert stored.metadata.snapshots[-1].timestamp_ms == before
    table = catalog.load_table("gold.numbers")
    table.append(ROWS)
    assert_in_order(catalog.load_table("gold.numbers"))
    assert len(table.scan().to_arrow()) == 3


def test_time_goes_on_with_the_clock(catalog: Catalog, table: Table) -> None:
    table.append(ROWS)
    stored = catalog.load_table("gold.numbers")
    assert_in_order(stored)
    times = [snapshot.timestamp_ms for snapshot in stored.metadata.snapshots]
    assert all(later > earlier for earlier, later in pairwise(times))
    assert abs(time.time() * 1000 - times[-1]) < HOUR_MS


def test_the_table_in_hand_is_the_one_that_is_stored(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_hour_earlier(monkeypatch)
    table.append(ROWS)
    assert table.metadata == catalog.load_table("gold.numbers").metadata

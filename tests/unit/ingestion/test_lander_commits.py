"""Commits against a real SQLite catalog: races, lost answers, and other people's commits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

import schemas
from ingestion.lander import retries
from ingestion.lander.commits import BronzeTable, FencedError
from lakehouse.catalog import load_catalog
from lakehouse.expiry import expire
from lakehouse.progress import (
    Progress,
    ProgressLostError,
    expirable_snapshots,
    read_progress,
)
from lakehouse.settings import Settings
from schemas import tables

TABLE = "bronze.dead_letters"
NOON = datetime(2024, 8, 9, 12, tzinfo=UTC)
TOPICS = ("market.trades", "ingest.dead_letters")


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(TABLE)])
    return catalog


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def progress(offset: int, *, topic: str = TOPICS[0], minute: int = 0) -> Progress:
    through = NOON + timedelta(minutes=minute, microseconds=offset)
    return Progress(topic, "id-of-topic", 3, {0: offset, 10: 7}, through)


def rows(table: BronzeTable, *offsets: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "topic": TOPICS[0],
                "kafka_partition": 0,
                "kafka_offset": offset,
                "stage": "lander",
                "reason": "empty_payload",
                "ingested_at": NOON,
            }
            for offset in offsets
        ],
        schema=table.schema,
    )


def offsets_in(catalog: Catalog) -> list[int]:
    found = catalog.load_table(TABLE).scan().to_arrow()["kafka_offset"].to_pylist()
    return sorted(found)


def single(catalog: Catalog) -> BronzeTable:
    return BronzeTable(catalog, TABLE, topics=TOPICS[:1])


def test_progress_is_read_back_as_it_was_written(catalog: Catalog) -> None:
    table = single(catalog)
    table.append(rows(table, 1), {TOPICS[0]: progress(2)})
    assert read_progress(catalog.load_table(TABLE)) == progress(2)
    assert single(catalog).progress == {TOPICS[0]: progress(2)}
    summary = catalog.load_table(TABLE).current_snapshot().summary.additional_properties
    assert summary["lakehouse.topic"] == "market.trades"
    assert summary["lakehouse.offsets"] == '{"0": 2, "10": 7}'
    assert summary["lakehouse.ingested-through"] == "2024-08-09T12:00:00.000002+00:00"


def test_two_topics_keep_their_progress_apart(catalog: Catalog) -> None:
    table = BronzeTable(catalog, TABLE, topics=TOPICS)
    assert table.progress == {TOPICS[0]: None, TOPICS[1]: None}
    end = {TOPICS[0]: progress(5), TOPICS[1]: progress(9, topic=TOPICS[1])}
    table.append(rows(table), end)
    assert BronzeTable(catalog, TABLE, topics=TOPICS).progress == end
    assert read_progress(catalog.load_table(TABLE)) is None


def test_heartbeat_is_a_snapshot_without_files(catalog: Catalog) -> None:
    table = single(catalog)
    table.append(rows(table, 1), {TOPICS[0]: progress(2)})
    table.append(rows(table), {TOPICS[0]: progress(2, minute=1)})
    snapshot = catalog.load_table(TABLE).current_snapshot()
    assert "added-data-files" not in snapshot.summary.additional_properties
    assert read_progress(catalog.load_table(TABLE)) == progress(2, minute=1)
    assert offsets_in(catalog) == [1]


def test_progress_is_found_behind_other_writers_snapshots(catalog: Catalog) -> None:
    table = single(catalog)
    table.append(rows(table, 1), {TOPICS[0]: progress(2)})
    catalog.load_table(TABLE).append(rows(table, 100))
    catalog.load_table(TABLE).append(rows(table, 101))
    assert read_progress(catalog.load_table(TABLE)) == progress(2)


def test_a_second_lander_is_fenced(catalog: Catalog) -> None:
    first, second = single(catalog), single(catalog)
    first.append(rows(first, 0, 1), {TOPICS[0]: progress(2)})
    with pytest.raises(FencedError, match=r"bronze\.dead_letters.*nothing.*generation 3 \{0: 2"):
        second.append(rows(second, 0, 1, 2), {TOPICS[0]: progress(3)})
    assert offsets_in(catalog) == [0, 1]


def test_a_second_lander_is_fenced_though_it_looked_before_the_first_committed(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race inside the commit: PyIceberg's own retry would append to the other's snapshot."""
    first, second = single(catalog), single(catalog)
    interrupt_once(
        monkeypatch, before=lambda: first.append(rows(first, 0), {TOPICS[0]: progress(1)})
    )
    with pytest.raises(FencedError):
        second.append(rows(second, 0), {TOPICS[0]: progress(2)})
    assert offsets_in(catalog) == [0]


def test_pyiceberg_alone_would_double_in_that_race(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, PyIceberg has learnt to refuse, and our guard may be simpler."""
    first = single(catalog)
    interrupt_once(
        monkeypatch, before=lambda: first.append(rows(first, 0), {TOPICS[0]: progress(1)})
    )
    catalog.load_table(TABLE).append(rows(first, 0), snapshot_properties=progress(1).to_summary())
    assert offsets_in(catalog) == [0, 0]


def test_a_maintenance_commit_in_between_is_survived(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    lander = single(catalog)
    interrupt_once(monkeypatch, before=lambda: catalog.load_table(TABLE).append(rows(lander, 50)))
    lander.append(rows(lander, 0), {TOPICS[0]: progress(1)})
    assert offsets_in(catalog) == [0, 50]
    assert read_progress(catalog.load_table(TABLE)) == progress(1)


def test_a_lost_answer_does_not_double(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    lander = single(catalog)
    interrupt_once(monkeypatch, after_error=ConnectionError("the answer got lost"))
    lander.append(rows(lander, 0), {TOPICS[0]: progress(1)})
    lander.append(rows(lander, 1), {TOPICS[0]: progress(2)})
    assert offsets_in(catalog) == [0, 1]


def test_a_catalog_that_stays_away_ends_in_a_named_error(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    lander = single(catalog)
    monkeypatch.setattr(retries, "BUDGET_SECONDS", 0.0)
    interrupt_once(monkeypatch, before=lambda: raise_(CommitFailedException("no")), times=99)
    with pytest.raises(retries.UnavailableError, match=r"commit to bronze\.dead_letters"):
        lander.append(rows(lander, 0), {TOPICS[0]: progress(1)})
    assert offsets_in(catalog) == []


def test_expiry_keeps_progress_pins_and_rows(catalog: Catalog) -> None:
    lander = single(catalog)
    for offset in range(6):
        lander.append(rows(lander, offset), {TOPICS[0]: progress(offset + 1)})
    snapshots = [s.snapshot_id for s in catalog.load_table(TABLE).snapshots()]
    catalog.load_table(TABLE).manage_snapshots().create_tag(snapshots[1], "pinned").commit()
    catalog.load_table(TABLE).append(rows(lander, 100))
    later = datetime.now(UTC) + timedelta(hours=1)
    table = catalog.load_table(TABLE)
    doomed = expirable_snapshots(table, before=later)
    assert sorted(doomed) == sorted([snapshots[0], *snapshots[2:5]])
    lists = [s.manifest_list for s in table.snapshots() if s.snapshot_id in doomed]

    assert expire(table, now=later) == 4

    left = catalog.load_table(TABLE)
    assert read_progress(left) == progress(6)
    assert offsets_in(catalog) == [0, 1, 2, 3, 4, 5, 100]
    pinned = left.scan(snapshot_id=snapshots[1]).to_arrow()["kafka_offset"].to_pylist()
    assert sorted(pinned) == [0, 1]
    assert not any(left.io.new_input(path).exists() for path in lists)
    lander.append(rows(lander, 6), {TOPICS[0]: progress(7)})
    assert offsets_in(catalog) == [0, 1, 2, 3, 4, 5, 6, 100]


def test_young_snapshots_are_kept(catalog: Catalog) -> None:
    lander = single(catalog)
    for offset in range(3):
        lander.append(rows(lander, offset), {TOPICS[0]: progress(offset + 1)})
    assert expire(catalog.load_table(TABLE), now=datetime.now(UTC)) == 0


def test_lost_progress_is_an_error_and_not_a_fresh_start(catalog: Catalog) -> None:
    lander = single(catalog)
    lander.append(rows(lander, 0), {TOPICS[0]: progress(1)})
    carrier = catalog.load_table(TABLE).current_snapshot().snapshot_id
    catalog.load_table(TABLE).append(rows(lander, 100))
    catalog.load_table(TABLE).maintenance.expire_snapshots().by_id(carrier).commit()
    with pytest.raises(ProgressLostError, match=r"bronze\.dead_letters"):
        read_progress(catalog.load_table(TABLE))


def test_progress_that_moved_only_in_time_also_fences(catalog: Catalog) -> None:
    first, second = single(catalog), single(catalog)
    first.append(rows(first), {TOPICS[0]: progress(1)})
    second = single(catalog)
    first.append(rows(first), {TOPICS[0]: replace(progress(1), ingested_through=NOON)})
    with pytest.raises(FencedError):
        second.append(rows(second, 1), {TOPICS[0]: progress(2)})


def raise_(error: Exception) -> None:
    raise error


def interrupt_once(
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: object = None,
    after_error: Exception | None = None,
    times: int = 1,
) -> None:
    """Let something happen right before, or an error right after, the next catalog commit."""
    original = SqlCatalog.commit_table
    left = [times]

    def commit(self: SqlCatalog, table: Table, requirements: object, updates: object) -> object:
        if left[0] == 0:
            return original(self, table, requirements, updates)
        left[0] -= 1
        if callable(before):
            before()
        response = original(self, table, requirements, updates)
        if after_error is not None:
            raise after_error
        return response

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)

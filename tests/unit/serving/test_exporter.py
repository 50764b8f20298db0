"""The exporter over a real catalog in a file; only the broker is an object of the test's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry
from pyiceberg.catalog import Catalog

from lakehouse.catalog import load_catalog
from lakehouse.poison import Layer, Place, note_poison
from lakehouse.progress import Progress
from lakehouse.settings import Settings
from schemas import tables
from serving.exporter import exporter as module
from serving.exporter.exporter import Exporter, lake_exporter
from serving.exporter.lake import SilentLogError

TRADES, FRAMES = "market.trades", "ingest.dead_letters"
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@dataclass
class FakeLog:
    """A broker whose events were all appended a minute ago; other topics are empty."""

    ends_by_topic: dict[str, dict[int, int]]
    silent: bool = False
    asked: list[Mapping[int, int]] = field(default_factory=list)

    def ends(self, topic: str) -> dict[int, int]:
        return self.ends_by_topic.get(topic, {0: 0})

    def appended_at(self, topic: str, offsets: Mapping[int, int]) -> list[float]:
        if self.silent:
            raise SilentLogError("nothing comes")
        self.asked.append(offsets)
        return [NOW.timestamp() - 60] * len(offsets)

    def forget(self) -> None:
        pass


@dataclass
class Lake:
    """A lake whose exporter is read when it is asked."""

    catalog: Catalog
    log: FakeLog
    exporter: Exporter
    now: float = NOW.timestamp()
    is_away: bool = False

    def value(self, name: str, **labels: str) -> float | None:
        registry = CollectorRegistry()
        registry.register(self.exporter)
        return registry.get_sample_value(name, labels)

    def append(self, table: str, *rows: dict[str, Any], progress: Progress | None = None) -> None:
        loaded = self.catalog.load_table(table)
        summary = progress.to_summary() if progress else {}
        of_table = pa.Table.from_pylist(list(rows), schema=loaded.schema().as_arrow())
        loaded.append(of_table, snapshot_properties=summary)


@pytest.fixture
def lake(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lake:
    catalog = load_catalog(settings)
    tables.apply(catalog)
    log = FakeLog({TRADES: {0: 5, 1: 5}, FRAMES: {0: 0}})
    monkeypatch.setattr(module, "Log", lambda _settings: log)

    def opened() -> Catalog:
        if lake.is_away:
            raise ConnectionError("the catalog is away")
        return catalog

    exporter = lake_exporter(settings, opened)
    exporter._clock = lambda: lake.now
    lake = Lake(catalog, log, exporter)
    return lake


def bronze_row(offset: int, ingested_at: datetime) -> dict[str, Any]:
    return {
        "kafka_partition": 0,
        "kafka_offset": offset,
        "topic_generation": 0,
        "kafka_timestamp": NOW,
        "message_key": b"k",
        "schema_id": 1,
        "payload": b"x",
        "event_time": NOW,
        "ingested_at": ingested_at,
    }


def file_row(ingested_at: datetime) -> dict[str, Any]:
    return {
        "dataset": "instruments",
        "file_name": "instruments.csv",
        "checksum": "0",
        "line_number": 2,
        "row_json": "{}",
        "ingested_at": ingested_at,
    }


def dead_letter(reason: str, stage: str = "lander") -> dict[str, Any]:
    return {"topic": TRADES, "stage": stage, "reason": reason, "ingested_at": NOW}


def run(
    status: str,
    *,
    recorded_at: datetime,
    end: datetime,
    run_id: str = "a",
    dataset: str = "trades",
    kind: str = "batch",
    source: str | None = "bronze.market_trades",
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "kind": kind,
        "dataset": dataset,
        "interval_start": end - HOUR,
        "interval_end": end,
        "status": status,
        "business_hours": "[]",
        "snapshots": json.dumps({source: 1}) if source else None,
        "rows_written": 7,
        "conflicts": 2,
        "started_at": recorded_at - timedelta(seconds=90),
        "recorded_at": recorded_at,
    }


def reconciliation(
    verdict: str, recorded_at: datetime, table: str = "gold.bars_1m", **counts: int
) -> dict[str, Any]:
    names = (
        "rows_compared rows_drifted missing_in_batch batch_ahead speed_ahead only_in_batch "
        "only_in_speed pruned"
    )
    return (
        dict.fromkeys(names.split(), 0)
        | counts
        | {
            "run_id": "r",
            "interval_start": NOW - HOUR,
            "interval_end": NOW,
            "table_name": table,
            "oldest_unreconciled_age_seconds": 30.0,
            "verdict": verdict,
            "recorded_at": recorded_at,
        }
    )


def test_an_empty_lake_is_told_as_one(lake: Lake) -> None:
    lake.exporter.read()
    sources = ("contracts", "log", "tables", "runs", "batch", "reconciliations", "dead_letters")
    assert {lake.value("lakehouse_exporter_up", source=name) for name in sources} == {1}
    assert lake.value("lakehouse_table_snapshots", table="gold.bars_1m") == 0
    assert lake.value("lakehouse_table_files", table="gold.bars_1m") is None
    assert lake.value("lakehouse_contract_freshness_seconds", table="gold.bars_1m") == 7200
    # It rolls up what another view has merged.
    assert merged(lake, "serving.bars_1h") == {"gold.bars_1m": {"gold.bars_1m", "gold.bars_1m_rt"}}
    assert merged(lake, "serving.positions").keys() == {"gold.positions", "gold.bars_1m"}
    # The instruments that it reads, too, have no other table to be merged with.
    assert merged(lake, "serving.market_daily").keys() == {"gold.bars_1m"}


def test_sizes_come_from_the_newest_snapshot(lake: Lake) -> None:
    lake.append("bronze.dead_letters", dead_letter("empty"))
    lake.append("bronze.dead_letters", dead_letter("empty"), dead_letter("late", stage="batch"))
    lake.exporter.read()
    table = {"table": "bronze.dead_letters"}
    assert lake.value("lakehouse_table_files", **table) == 2
    assert lake.value("lakehouse_table_records", **table) == 3
    assert lake.value("lakehouse_table_snapshots", **table) == 2
    committed_at = lake.value("lakehouse_table_newest_commit_timestamp_seconds", **table)
    assert committed_at == pytest.approx(datetime.now(UTC).timestamp(), abs=60)


def test_dead_letters_are_counted_and_each_file_is_read_once(lake: Lake) -> None:
    lake.append("bronze.dead_letters", dead_letter("empty"), dead_letter("empty"))
    lake.exporter.read()
    for path in (row["file_path"] for row in _files(lake, "bronze.dead_letters")):
        lake.catalog.load_table("bronze.dead_letters").io.delete(path)
    lake.append("bronze.dead_letters", dead_letter("late", stage="batch"))
    lake.exporter.read()
    assert lake.value("lakehouse_exporter_up", source="dead_letters") == 1
    rows = "lakehouse_dead_letters_rows"
    assert lake.value(rows, stage="lander", reason="empty") == 2
    assert lake.value(rows, stage="batch", reason="late") == 1


def test_of_models_the_newest_day_is_told_as_it_was_measured_last(lake: Lake) -> None:
    def check(day: int, value: float, minute: int, **other: Any) -> dict[str, Any]:
        return {
            **{"business_date": NOW.date() - timedelta(days=day), "model": "volatility"},
            **{"version": 1, "measure": "ks", "subject": "spread_bps", "value": value},
            **{"row_count": 10, "snapshot_id": 1},
            "recorded_at": NOW - timedelta(minutes=minute),
            **other,
        }

    def told(subject: str) -> float | None:
        lake.exporter.read()
        labels = {"model": "volatility", "measure": "ks", "subject": subject}
        return lake.value("lakehouse_model_check_value", **labels)

    lake.append("ops.model_checks", check(2, 0.9, 1), check(2, 0.8, 1, subject="return_1m"))
    assert told("spread_bps") == 0.9
    lake.append("ops.model_checks", check(1, 0.2, 3), check(1, 0.1, 9))
    assert told("spread_bps") == 0.2
    assert told("return_1m") is None


def test_poison_is_counted_by_topic_and_what_was_noted_twice_is_one(lake: Lake) -> None:
    for offset in (7, 7, 8):
        note_poison(lake.catalog, TRADES, {Place(0, offset): "overflow"}, Layer.SPEED)
    lake.exporter.read()
    assert lake.value("lakehouse_poison_events_total", topic=TRADES) == 2
    assert lake.value("lakehouse_poison_events_total", topic="crm.customers") == 0


def test_bronze_is_as_old_as_the_oldest_event_that_it_lacks(lake: Lake) -> None:
    progress = Progress(TRADES, "id", 0, {0: 5, 1: 3}, NOW)
    lake.append("bronze.market_trades", bronze_row(4, NOW), progress=progress)
    lake.exporter.read()
    labels = {"table": "bronze.market_trades"}
    assert lake.value("lakehouse_table_lag_events", **labels, topic=TRADES) == 2
    assert lake.log.asked == [{1: 3}]
    assert lake.value("lakehouse_table_freshness_seconds", **labels) == pytest.approx(60)
    lake.now += 5  # it grows older between two rounds
    assert lake.value("lakehouse_table_freshness_seconds", **labels) == pytest.approx(65)


def test_a_table_that_holds_all_is_fresh_however_long_ago_the_last_event_came(lake: Lake) -> None:
    progress = Progress(TRADES, "id", 0, {0: 5, 1: 5}, NOW - 24 * HOUR)
    lake.append("bronze.market_trades", bronze_row(4, NOW - 24 * HOUR), progress=progress)
    lake.exporter.read()
    assert lake.value("lakehouse_table_freshness_seconds", table="bronze.market_trades") == 0


def test_batch_is_behind_from_the_end_of_what_it_published(lake: Lake) -> None:
    published = run("PUBLISHED", recorded_at=NOW - HOUR, end=NOW - 2 * HOUR)
    lake.append("ops.runs", published)
    lake.append("bronze.market_trades", bronze_row(1, NOW - 3 * HOUR))
    lake.exporter.read()
    assert lake.value("lakehouse_table_freshness_seconds", table="gold.bars_1h") == 0
    lake.append("bronze.market_trades", bronze_row(2, NOW - HOUR))
    lake.exporter.read()
    age = lake.value("lakehouse_table_freshness_seconds", table="gold.bars_1h")
    assert age == pytest.approx(7200)
    # The speed layer tells of its own tables.
    assert lake.value("lakehouse_table_freshness_seconds", table="gold.bars_1m_rt") is None


def test_an_hour_that_was_left_out_is_waited_for_whatever_was_published_since(lake: Lake) -> None:
    def published(*ends: int) -> list[dict[str, Any]]:
        return [
            run("PUBLISHED", recorded_at=NOW, end=NOW - hours * HOUR, run_id=str(hours))
            for hours in ends
        ]

    def age() -> float | None:
        lake.exporter.read()
        return lake.value("lakehouse_table_freshness_seconds", table="gold.bars_1m")

    lake.append("bronze.market_trades", bronze_row(1, NOW))
    # A month ago is too long ago to tell what was left out.
    lake.append("ops.runs", *published(5, 1, 2, 24 * 40))
    assert age() == pytest.approx(5 * 3600)
    lake.append("ops.runs", *published(4, 3))
    assert age() == pytest.approx(3600)


def test_a_lake_that_batch_never_saw_is_as_old_as_it_is(lake: Lake) -> None:
    lake.append("bronze.market_trades", bronze_row(1, NOW))
    lake.now = datetime.now(UTC).timestamp() + 500
    lake.exporter.read()
    age = lake.value("lakehouse_table_freshness_seconds", table="silver.trades")
    assert age == pytest.approx(500, abs=60)


def test_each_table_of_batch_is_judged_by_what_it_is_made_of(lake: Lake) -> None:
    done, due = NOW - HOUR, NOW - 2 * HOUR
    fills = {"dataset": "fills", "source": "bronze.oms_fills", "run_id": "b"}
    customers = {"dataset": "customers", "source": "bronze.crm_customers", "run_id": "c"}
    lake.append(
        "ops.runs",
        run("PUBLISHED", recorded_at=done, end=NOW),
        run("PUBLISHED", recorded_at=done, end=due, **fills),
        run("PUBLISHED", recorded_at=done, end=NOW - 3 * HOUR, **customers),
    )
    lake.append("bronze.market_trades", bronze_row(1, NOW - HOUR))
    lake.append("bronze.oms_fills", bronze_row(1, NOW - HOUR))
    ages = freshness(lake, "silver.trades", "gold.positions", "silver.quotes", "silver.customers")
    # No quote and no change of a customer has ever landed.
    assert ages == {"silver.trades": 0, "gold.positions": pytest.approx(7200)}
    lake.append("bronze.crm_customers", bronze_row(1, NOW - 4 * HOUR))
    made_of_both = "gold.customer_activity_daily"
    ages = freshness(lake, made_of_both, "silver.customers")
    assert ages == {made_of_both: pytest.approx(7200), "silver.customers": 0}
    lake.append("bronze.crm_customers", bronze_row(2, NOW - HOUR))
    assert freshness(lake, made_of_both) == {made_of_both: pytest.approx(3 * 3600)}


def test_a_swap_of_tables_that_were_built_anew_covers_what_they_were_made_of(lake: Lake) -> None:
    # It is recorded without the snapshot that it read, which the build before it has stated.
    built = run("STARTED", recorded_at=NOW - HOUR, end=NOW, run_id="1", kind="rebuild")
    swapped = run("PUBLISHED", recorded_at=NOW, end=NOW, run_id="2", source=None)
    lake.append("ops.runs", built, swapped)
    lake.append("bronze.market_trades", bronze_row(1, NOW - HOUR))
    assert freshness(lake, "gold.bars_1m") == {"gold.bars_1m": 0}


def test_features_are_as_far_as_their_own_runs_and_untold_before_the_first(lake: Lake) -> None:
    table, due = "gold.features_1m", NOW - 2 * HOUR
    quotes = {"dataset": "quotes", "source": "bronze.market_quotes", "run_id": "b"}
    features = {"kind": "derived", "dataset": "features", "source": "silver.trades"}
    lake.append("bronze.market_trades", bronze_row(1, NOW - HOUR))
    lake.append("bronze.market_quotes", bronze_row(1, NOW - 3 * HOUR))
    lake.append(
        "ops.runs", *(run("PUBLISHED", recorded_at=NOW, end=NOW, **of) for of in ({}, quotes))
    )
    assert freshness(lake, table, "silver.trades") == {"silver.trades": 0}
    lake.append("ops.runs", run("PUBLISHED", recorded_at=NOW, end=due, run_id="c", **features))
    assert freshness(lake, table, "silver.trades") == {
        table: pytest.approx(7200),
        "silver.trades": 0,
    }
    lake.append("ops.runs", run("PUBLISHED", recorded_at=NOW, end=NOW, run_id="d", **features))
    assert freshness(lake, table) == {table: 0}


def test_files_that_came_long_ago_were_seen_to_long_ago(lake: Lake) -> None:
    long_ago = NOW - 100 * 24 * HOUR
    files = {"kind": "reference", "dataset": "instruments", "source": "bronze.files_instruments"}
    lake.append("bronze.files_instruments", file_row(long_ago - HOUR))
    lake.append("ops.runs", run("PUBLISHED", recorded_at=long_ago, end=long_ago, **files))
    assert freshness(lake, "silver.instruments") == {"silver.instruments": 0}
    lake.append("bronze.files_instruments", file_row(long_ago + HOUR))
    found = freshness(lake, "silver.instruments")
    assert found == {"silver.instruments": pytest.approx(100 * 24 * 3600)}


def test_runs_are_told_by_how_they_ended(lake: Lake) -> None:
    started = run("STARTED", recorded_at=NOW - 3 * HOUR, end=NOW - 3 * HOUR, run_id="1")
    published = run("PUBLISHED", recorded_at=NOW - 2 * HOUR, end=NOW - 3 * HOUR, run_id="1")
    failed = run("FAILED", recorded_at=NOW - HOUR, end=NOW - 2 * HOUR, run_id="2")
    lake.append("ops.runs", failed, published, started)
    for _ in range(2):
        lake.exporter.read()
    kind = {"kind": "batch", "dataset": "trades"}
    success = lake.value("lakehouse_run_last_success_timestamp_seconds", **kind)
    assert success == pytest.approx((NOW - 2 * HOUR).timestamp())
    assert lake.value("lakehouse_run_last_duration_seconds", **kind) == pytest.approx(90)
    assert lake.value("lakehouse_run_last_conflicts", **kind) == 2
    assert lake.value("lakehouse_run_failed", **kind) == 1
    through = lake.value("lakehouse_run_covered_through_timestamp_seconds", **kind)
    assert through == pytest.approx((NOW - 3 * HOUR).timestamp())
    assert lake.value("lakehouse_run_seconds_count", **kind, status="PUBLISHED") == 1
    assert lake.value("lakehouse_run_seconds_count", **kind, status="FAILED") == 1


def test_a_dataset_that_failed_is_not_hidden_by_another_that_went_well(lake: Lake) -> None:
    failed = run("FAILED", recorded_at=NOW - 2 * HOUR, end=NOW - 3 * HOUR, run_id="1")
    later = {"recorded_at": NOW - HOUR, "end": NOW - 3 * HOUR, "run_id": "2", "dataset": "fills"}
    lake.append("ops.runs", failed, run("PUBLISHED", **later))
    lake.exporter.read()
    found = {
        name: lake.value("lakehouse_run_failed", kind="batch", dataset=name)
        for name in ("trades", "fills")
    }
    assert found == {"trades": 1, "fills": 0}


def test_the_last_reconciliation_is_told_and_when_the_layers_last_agreed(lake: Lake) -> None:
    lake.append(
        "ops.reconciliations",
        reconciliation("DRIFT", NOW - HOUR, rows_drifted=3),
        reconciliation("AGREE", NOW - 2 * HOUR, rows_compared=9),
    )
    lake.exporter.read()
    table = {"table": "gold.bars_1m"}
    assert lake.value("lakehouse_reconciliation_rows", **table, state="drifted") == 3
    assert lake.value("lakehouse_reconciliation_rows", **table, state="compared") == 0
    assert lake.value("lakehouse_reconciliation_agrees", **table) == 0
    age = lake.value("lakehouse_reconciliation_age_seconds", **table)
    assert age == pytest.approx(7200)
    # Never reconciled: since the lake was made, and no time of success is invented.
    other = {"table": "silver.trades"}
    assert lake.value("lakehouse_reconciliation_age_seconds", **other) == pytest.approx(0, abs=60)
    success = "lakehouse_reconciliation_last_success_timestamp_seconds"
    assert lake.value(success, **other) is None


def test_the_last_upkeep_of_a_table_is_told(lake: Lake) -> None:
    counted = ("files", "bytes", "manifests", "snapshots")
    row: dict[str, Any] = {"run_id": "m", "table_name": "silver.trades", "as_of": NOW}
    row |= {f"{name}_before": 9 for name in counted} | {
        "snapshots_expired": 0,
        "refs_dropped": "[]",
    }
    row |= {"files_retired": 0, "files_deleted": 12, "orphans_deleted": 0, "started_at": NOW}
    early = {"outcome": "FAILED", "files_compacted": 0, "files_written": 0}
    late = {"outcome": "PUT_OFF", "files_compacted": 9, "files_written": 1}
    lake.append(
        "ops.maintenance",
        row | late | {"recorded_at": NOW - HOUR},
        row | early | {"recorded_at": NOW - 2 * HOUR},
    )
    lake.exporter.read()
    table = {"table": "silver.trades"}
    at = lake.value("lakehouse_maintenance_last_timestamp_seconds", **table)
    assert at == (NOW - HOUR).timestamp()
    assert lake.value("lakehouse_maintenance_failed", **table) == 0
    found = {
        action: lake.value("lakehouse_maintenance_last_files", **table, action=action)
        for action in ("compacted", "written", "deleted")
    }
    assert found == {"compacted": 9, "written": 1, "deleted": 12}


def test_a_source_that_is_away_is_told_and_takes_no_other_with_it(lake: Lake) -> None:
    lake.log.silent = True
    lake.exporter.read()
    assert lake.value("lakehouse_exporter_up", source="log") == 0
    assert lake.value("lakehouse_exporter_failures_total", source="log") == 1
    assert lake.value("lakehouse_table_lag_events", table="bronze.market_trades") is None
    assert lake.value("lakehouse_exporter_up", source="tables") == 1


def test_what_is_too_old_is_withheld_until_the_catalog_is_back(
    settings: Settings, lake: Lake
) -> None:
    lake.exporter.read()
    lake.is_away, lake.exporter._catalog = True, None
    lake.exporter.read()
    snapshots = {"table": "gold.bars_1m"}
    assert lake.value("lakehouse_table_snapshots", **snapshots) == 0  # of a moment ago
    lake.now += module.MAX_AGE_SECONDS + 1
    lake.exporter.read()
    assert lake.value("lakehouse_table_snapshots", **snapshots) is None
    assert lake.value("lakehouse_exporter_up", source="tables") == 0
    lake.is_away = False
    lake.exporter.read()
    assert lake.value("lakehouse_table_snapshots", **snapshots) == 0
    assert lake.value("lakehouse_exporter_up", source="tables") == 1


def test_it_starts_without_a_catalog_and_says_so(lake: Lake) -> None:
    lake.is_away = True
    beats, stop = [], Event()

    def beat() -> None:
        beats.append(1)
        if len(beats) == 2:
            stop.set()

    lake.exporter.run(stop, beat, every=0)
    assert lake.value("lakehouse_exporter_up", source="tables") == 0
    assert lake.value("lakehouse_exporter_failures_total", source="tables") == 2


def merged(lake: Lake, view: str) -> dict[str, set[str]]:
    """Return the tables that a view merges, by batch's."""
    found: dict[str, set[str]] = {}
    for family in lake.exporter.collect():
        for sample in family.samples:
            if sample.name == "lakehouse_view_source_info" and sample.labels["view"] == view:
                found.setdefault(sample.labels["batch_table"], set()).add(sample.labels["table"])
    return found


def freshness(lake: Lake, *tables: str) -> dict[str, float]:
    """Read, and return how old those of some tables are of which something is told."""
    lake.exporter.read()
    found = {
        table: lake.value("lakehouse_table_freshness_seconds", table=table) for table in tables
    }
    return {table: age for table, age in found.items() if age is not None}


def _files(lake: Lake, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.catalog.load_table(table).inspect.files().to_pylist()
    return rows

"""Refused events and frames, redriven after the fix: each counts once, in both layers.

A real broker, the real lander, layers and command line. Refused are an event of a schema that
nobody knows, one that is too far ahead of the log's time, and a frame of another venue.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any

import pytest
import small_lake
from confluent_kafka import Producer
from embedded_lake import DEADLINE_SECONDS, EmbeddedLake, embedded_lake
from pyspark.sql import SparkSession
from small_lake import SmallLake
from trade_log import payload

import lakehouse.transforms.trades
import schemas
from batch.datasets.trades import Trades as TradesDataset
from batch.job import BatchJob
from batch.reconciliation import Reconciliation
from demo.oracle import LoggedEvent, compare, naive_bars, naive_trades
from ingestion.lander.lander import Lander
from lakehouse.catalog import load_catalog
from lakehouse.delivery import producer_settings
from lakehouse.intervals import Interval
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.settings import Settings
from lakehouse.transforms.bounds import LATEST_AHEAD_OF_LOG
from schemas import SchemaVersion, TableContract
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec
from serving.engine import SqlEngine
from speed.flows.trades import Trades
from speed.query import start_query

# All of the loop runs in the set-up of the first test.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NOW = datetime.now(UTC).replace(microsecond=0)
BRONZE = "bronze.market_trades"
NEW_SCHEMA_ID = 7
POISON, AHEAD = 50, 60
# Long enough to be in the log by then.
AHEAD_OF_ALLOWANCE = timedelta(seconds=20)
TRADE_KEY = ("venue", "symbol", "trade_id", "event_time")
HIDDEN = ("log_partition",)
FRAME = (
    b'1 {"stream":"btcusd_perp@trade","data":{"e":"trade","s":"BTCUSD_PERP","t":70,"p":"61837.6",'
    b'"q":"5","T":%d,"m":true,"X":"MARKET"}}\n' % (int(NOW.timestamp()) * 1000)
)


@dataclass
class State:
    """The lake once everything in the log has passed both layers and was reconciled."""

    redriven: dict[str, Any]
    counts: dict[str, tuple[int, int]]
    """By reason, how many letters there are and how many of them were redriven."""
    trades: list[dict[str, Any]]
    bars: list[dict[str, Any]]
    events: list[LoggedEvent]
    """All that were accepted, as the log has them."""
    verdicts: list[str]
    tries: list[dict[str, Any]]

    def values(self) -> list[tuple[Any, ...]]:
        """What a user sees of trades, without the positions that say when they were seen."""
        seen = ("venue", "symbol", "trade_id", "event_time", "state", "price", "quantity")
        return sorted(tuple(str(row[name]) for name in seen) for row in self.trades)


def trade(number: int) -> dict[str, Any]:
    return {
        "symbol": ("BTCUSDT", "ETHUSDT", "SOLUSDT")[number % 3],
        "trade_id": number,
        "event_time": NOW + timedelta(milliseconds=number),
        "price": Decimal(100 + number),
    }


def produce(settings: Settings) -> datetime:
    """Send sound and other events; return when the log's time has come near that of the last."""
    producer = Producer(producer_settings({"bootstrap.servers": settings.bootstrap_servers}))
    timely_at = datetime.now(UTC) + AHEAD_OF_ALLOWANCE
    for number in (1, 2, POISON, 3, 4, AHEAD, 5, 6):
        event = trade(number)
        if number == AHEAD:
            event["event_time"] = timely_at + LATEST_AHEAD_OF_LOG
        value = payload(**event)
        if number == POISON:
            value = b"\x00" + NEW_SCHEMA_ID.to_bytes(4, "big") + value[5:]
        producer.produce(TRADES_TOPIC, value, f"binance_spot:{event['symbol']}")
    assert producer.flush(DEADLINE_SECONDS) == 0
    return timely_at


def mended() -> Mapping[str, TableContract]:
    """The contracts once they state the schema that nobody knew."""
    stated = schemas.contract(BRONZE)
    (topic,) = stated.topics
    version = SchemaVersion(NEW_SCHEMA_ID, topic.versions[-1].file)
    topic = replace(topic, versions=(*topic.versions, version))
    return MappingProxyType({**schemas.contracts(), BRONZE: replace(stated, topics=(topic,))})


def settle(lake: EmbeddedLake, spark: SparkSession, redriven: str = "{}") -> State:
    """Let everything in the log pass both layers, reconcile them, and look."""
    Lander(lake.settings, lake.catalog).run(once=True, stop=Event())
    query = start_query(spark, lake.settings, lake.catalog, Trades(), once=True)
    try:
        assert query.awaitTermination(DEADLINE_SECONDS)
    finally:
        query.stop()
    interval = Interval(NOW - timedelta(hours=1), lake.ingested_through())
    BatchJob(spark, lake.catalog, lake.settings, TradesDataset()).run(interval)
    records = Reconciliation(spark, lake.catalog, TradesDataset()).run(interval)
    counted = json.loads(lake.run("dlq", "list", "--json"))
    return State(
        json.loads(redriven),
        {one["reason"]: (one["letters"], one["redriven"]) for one in counted},
        lake.rows("SELECT * FROM serving.trades ORDER BY ALL"),
        lake.rows("SELECT * FROM serving.bars_1m"),
        accepted(lake),
        [record.verdict for record in records],
        lake.rows("SELECT * FROM ops.redrives ORDER BY ALL"),
    )


def accepted(lake: EmbeddedLake) -> list[LoggedEvent]:
    """Every event of the log that is no dead letter."""
    refused = {
        (row["kafka_partition"], row["kafka_offset"])
        for row in lake.rows(f"SELECT * FROM bronze.dead_letters WHERE topic = '{TRADES_TOPIC}'")
    }
    codec = EventCodec(ContractRegistry(), 1_000_000)
    return [
        LoggedEvent(record.partition, record.offset, codec.decode(record.payload))
        for record in lake.log()
        if (record.partition, record.offset) not in refused
    ]


@pytest.fixture(scope="module")
def states(
    spark: SparkSession, spark_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, State]]:
    """Run the loop: refused, redriven too early, after the fix, twice, and deliberately again."""
    settings = Settings(
        home=tmp_path_factory.mktemp("redrive"),
        catalog_uri=spark_settings.catalog_address,
        warehouse=spark_settings.warehouse_address,
    )
    recording: Path = tmp_path_factory.mktemp("recordings") / "frames.txt"
    recording.write_bytes(FRAME)
    with embedded_lake(settings) as lake, pytest.MonkeyPatch.context() as patched:

        def redrive(*words: str) -> str:
            return lake.run("dlq", "redrive", "--json", *words)

        found: dict[str, State] = {}
        timely_at = produce(settings)
        lake.run("replay", str(recording), "--venue", "binance_spot")
        found["refused"] = settle(lake, spark)
        early = redrive("--reason", "unknown_schema_id")
        found["too early"] = settle(lake, spark, early)
        contracts = mended()
        patched.setattr(schemas, "contracts", lambda: contracts)
        lake.wait_until(lambda: datetime.now(UTC) > timely_at, "the log's time comes near")
        everything = ("--all", "--venue", "binance_coinm")
        found["after the fix"] = settle(lake, spark, redrive(*everything))
        found["twice"] = settle(lake, spark, redrive(*everything))
        found["again"] = settle(lake, spark, redrive(*everything, "--again"))
        yield found


def sent(state: State) -> dict[str, int]:
    """By reason of the letter, how many events a redrive has sent."""
    reasons = [one["reason"] for one in state.redriven["letters"] if one["verdict"] == "sent"]
    return {reason: reasons.count(reason) for reason in reasons}


def trade_ids(state: State) -> list[int]:
    return sorted(row["trade_id"] for row in state.trades)


def test_what_is_refused_is_listed_and_does_not_count(states: dict[str, State]) -> None:
    state = states["refused"]
    assert state.counts == {
        "unknown_schema_id": (1, 0),
        "event_time_in_future": (1, 0),
        "wrong_venue": (1, 0),
    }
    assert trade_ids(state) == [1, 2, 3, 4, 5, 6]


def test_redriven_too_early_it_is_refused_again_and_nothing_else_changes(
    states: dict[str, State],
) -> None:
    state = states["too early"]
    assert sent(state) == {"unknown_schema_id": 1}
    assert state.counts["unknown_schema_id"] == (2, 1)
    assert state.values() == states["refused"].values()


def test_redriven_after_the_fix_each_counts_once(states: dict[str, State]) -> None:
    state = states["after the fix"]
    assert sent(state) == {"unknown_schema_id": 1, "event_time_in_future": 1, "wrong_venue": 1}
    assert trade_ids(state) == [1, 2, 3, 4, 5, 6, POISON, AHEAD, 70]
    (future,) = [row for row in state.trades if row["trade_id"] == 70]
    assert (future["venue"], future["symbol"]) == ("binance_coinm", "BTCUSD_PERP")
    assert state.counts == {
        "unknown_schema_id": (2, 2),
        "event_time_in_future": (1, 1),
        "wrong_venue": (1, 1),
    }


def test_redriving_twice_sends_nothing(states: dict[str, State]) -> None:
    before, state = states["after the fix"], states["twice"]
    assert {one["verdict"] for one in state.redriven["letters"]} == {"redriven already"}
    assert state.events == before.events
    assert (state.trades, state.counts, state.tries) == (before.trades, before.counts, before.tries)


def test_a_deliberate_repeat_is_harmless_and_bounded(states: dict[str, State]) -> None:
    before, state = states["twice"], states["again"]
    # The poison event had two tries, so that one is left for its whole family.
    assert sent(state) == {"unknown_schema_id": 1, "event_time_in_future": 1, "wrong_venue": 1}
    verdicts = [one["verdict"] for one in state.redriven["letters"]]
    assert verdicts.count("attempts used up") == 1
    assert len(state.events) == len(before.events) + 3
    assert state.values() == before.values()
    assert state.counts == before.counts


def test_at_every_step_the_views_equal_the_oracle_and_the_layers_agree(
    states: dict[str, State],
) -> None:
    for name, state in states.items():
        trades = compare(naive_trades(state.events), state.trades, key=TRADE_KEY, ignore=HIDDEN)
        bars = compare(naive_bars(state.events), state.bars, ignore=HIDDEN)
        assert trades.equal, f"{name}: {trades}"
        assert bars.equal, f"{name}: {bars}"
        assert set(state.verdicts) == {"AGREE"}, name


def test_where_a_rule_was_loosened_batch_judges_anew_and_then_a_redrive_tells_the_speed_layer(
    spark: SparkSession, spark_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    large = small_lake.trade(2, price=Decimal(10**9), quantity=Decimal(5 * 10**6))
    for event in (small_lake.trade(1), large, small_lake.trade(3)):
        lake.produce(event)
    landed = lake.land()
    lake.stream()
    lake.batch(landed)
    lake.reconcile(landed)
    (letter,) = lake.catalog.load_table("bronze.dead_letters").scan().to_arrow().to_pylist()
    assert (letter["stage"], letter["reason"]) == ("batch", "implausible_size")

    monkeypatch.setattr(lakehouse.transforms.trades, "MAX_NOTIONAL", Decimal(10**17))
    lake.restart_speed()
    lake.batch(landed)
    lake.produce(large)  # as a redrive does: of the same key and payload
    redriven = lake.land()
    lake.stream()
    lake.batch(redriven)
    assert [record.verdict for record in lake.reconcile(redriven)] == ["AGREE"] * 2
    engine = SqlEngine(lake.catalog)
    for view, expected, key in (
        ("trades", naive_trades(lake.events()), TRADE_KEY),
        ("bars_1m", naive_bars(lake.events()), ("venue", "symbol", "window_start")),
    ):
        rows = engine.query(f"SELECT * FROM serving.{view}").to_pylist()
        verdict = compare(expected, rows, key=key, ignore=HIDDEN)
        assert verdict.equal, f"{view}: {verdict}"
    engine.close()


def test_the_audit_trail_names_old_and_new(states: dict[str, State]) -> None:
    state = states["again"]
    accepted_at = {(event.partition, event.position): event for event in state.events}
    tries = sorted(state.tries, key=lambda one: one["redriven_at"])
    poison = [one for one in tries if one["reason"] == "unknown_schema_id"]
    assert [one["attempt"] for one in poison] == [1, 2, 3]
    assert len({one["origin"] for one in poison}) == 1
    for one in tries[1:]:  # all but the one that was too early
        assert (one["sent_partition"], one["sent_offset"]) in accepted_at
    # The try that was too early became a dead letter, which the next try names.
    too_early, after_the_fix = poison[:2]
    assert (after_the_fix["kafka_partition"], after_the_fix["kafka_offset"]) == (
        too_early["sent_partition"],
        too_early["sent_offset"],
    )

"""Poison: what no rule refuses and Spark cannot compute with is set aside, once; the rest goes on.

No rule is known to let such an event in. So these tests loosen one: of trades and fills without a
bound, a few are more than a column can add up.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from embedded_lake import DEADLINE_SECONDS, EmbeddedLake, embedded_lake
from fill_log import fill
from fills_lake import FillsLake
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from small_lake import EPOCH, RECORDS, SmallLake, trade
from trade_log import payload

import batch.activity
import lakehouse.isolation
import lakehouse.transforms.fills
import lakehouse.transforms.trades
from batch.datasets.trades import Trades as TradesDataset
from batch.job import BatchJob
from batch.reconciliation import Reconciliation
from demo.oracle import LoggedEvent, compare, naive_bars, naive_hours, naive_trades
from demo.positions_oracle import naive_positions
from ingestion.lander.lander import Lander
from lakehouse.catalog import load_catalog
from lakehouse.delivery import producer_settings
from lakehouse.intervals import Interval
from lakehouse.isolation import MOST_POISON, PoisonedStreamError
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.poison import Layer, is_of_data
from lakehouse.settings import Settings
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec
from serving.engine import SqlEngine
from speed import metrics, patience
from speed.flow import observations
from speed.flows.trades import Trades
from speed.isolation import isolate
from speed.query import run_query
from speed.retraction import take_back

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = NOW.replace(second=0)
# Another minute of the same hour: its bar has room for a giant that the hour's has not.
NEIGHBOUR = MINUTE.replace(minute=(MINUTE.minute + 1) % 60)
LARGEST = Decimal("9999999999.99999999")
# Sums of notionals have 22 digits before the point: a hundred of these fit, no more. Positions
# have one less.
GIANT = {"price": LARGEST, "quantity": LARGEST}
GIANTS, GIANT_FILLS = 100, 10
UNBOUNDED = Decimal(10**21)
TRADE_KEY = ("venue", "symbol", "trade_id", "event_time")
HIDDEN = ("log_partition",)
POISON_ID, BATCH_POISON_ID = 5_000, 6_000
FATAL = Decimal("12345.67")


class CrashError(Exception):
    """Ends the process at a bad moment."""


def numbered(number: int, **fields: Any) -> dict[str, Any]:
    symbol = fields.pop("symbol", "BTCUSDT")
    return {"trade_id": number, "symbol": symbol, "event_time": MINUTE} | fields


def produce(settings: Settings, events: list[dict[str, Any]]) -> None:
    producer = Producer(producer_settings({"bootstrap.servers": settings.bootstrap_servers}))
    for event in events:
        producer.produce(TRADES_TOPIC, payload(**event), f"binance_spot:{event['symbol']}")
    assert producer.flush(DEADLINE_SECONDS) == 0


class Outcome(NamedTuple):
    """What is left of everything in the log, at one stage."""

    poison: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    trades: str
    """What a comparison with the oracle says of the trades, the poison left out."""
    bars: str
    batch_hours: str
    """Likewise, of the hours that batch has made."""
    verdicts: list[str]
    restarts: float


class Loop(NamedTuple):
    """The layers over one lake."""

    lake: EmbeddedLake
    spark: SparkSession

    def stream(self) -> None:
        """Bring the speed layer to the log's end, as `lakehouse speed --once` does."""
        settings, catalog = self.lake.settings, self.lake.catalog
        run_query(
            lambda: self.spark,
            settings,
            catalog,
            Trades(),
            once=True,
            stop=Event(),
            beat=lambda: None,
        )

    def batch(self) -> list[str]:
        """Land all, run batch over all of it, reconcile; return what that found."""
        lake, dataset = self.lake, TradesDataset()
        Lander(lake.settings, lake.catalog).run(once=True, stop=Event())
        interval = Interval(NOW - timedelta(hours=1), lake.ingested_through())
        BatchJob(self.spark, lake.catalog, lake.settings, dataset).run(interval)
        records = Reconciliation(self.spark, lake.catalog, dataset).run(interval)
        return [record.verdict for record in records]

    def look(self, verdicts: list[str] | None = None) -> Outcome:
        """Return what there is now."""
        poison = self.lake.rows("SELECT * FROM ops.poison_events ORDER BY ALL")
        aside = {(row["kafka_partition"], row["kafka_offset"]) for row in poison}
        codec = EventCodec(ContractRegistry(), 1_000_000)
        events = [
            LoggedEvent(record.partition, record.offset, codec.decode(record.payload))
            for record in self.lake.log()
            if (record.partition, record.offset) not in aside
        ]
        trades = self.lake.rows("SELECT * FROM serving.trades")
        bars = self.lake.rows("SELECT * FROM serving.bars_1m")
        hours = self.lake.rows("SELECT * FROM gold.bars_1h")
        return Outcome(
            poison,
            self.lake.rows("SELECT * FROM bronze.dead_letters"),
            str(compare(naive_trades(events), trades, key=TRADE_KEY, ignore=HIDDEN)),
            str(compare(naive_bars(events), bars, ignore=HIDDEN)),
            str(compare(naive_hours(events, include_tombstones=True), hours, ignore=HIDDEN)),
            verdicts or [],
            metrics.RESTARTS._value.get(),
        )


@pytest.fixture(scope="module")
def stages(
    spark: SparkSession, spark_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Outcome]]:
    """Meet a poison event, crash at the worst moments, go on, batch twice, mend and redrive."""
    settings = Settings(
        home=tmp_path_factory.mktemp("poison"),
        catalog_uri=spark_settings.catalog_address,
        warehouse=spark_settings.warehouse_address,
    )
    with embedded_lake(settings) as lake, pytest.MonkeyPatch.context() as patched:
        patched.setattr(lakehouse.transforms.trades, "MAX_NOTIONAL", UNBOUNDED)
        patched.setattr(patience, "FIRST_WAIT_SECONDS", 0.01)
        loop, found = Loop(lake, spark), {}
        produce(
            settings,
            [
                *(numbered(n, **GIANT) for n in range(GIANTS)),
                numbered(900, symbol="ETHUSDT"),
                numbered(POISON_ID, **GIANT),
                numbered(901),
                numbered(902, event_time=MINUTE - timedelta(minutes=1)),
                numbered(903, symbol="ETHUSDT"),
            ],
        )
        with patched.context() as strict:
            strict.setattr(lakehouse.isolation, "MOST_POISON", 0)
            with pytest.raises(StreamingQueryException, match="PoisonedStreamError") as told:
                loop.stream()
            assert is_of_data(told.value)  # what is isolated and is of data is tried no more
        found["more than is borne"] = loop.look()
        note = lakehouse.isolation.note_poison
        with patched.context() as crashing:
            crashing.setattr(lakehouse.isolation, "note_poison", crash_before(note))
            with pytest.raises(StreamingQueryException, match="CrashError"):
                loop.stream()
            found["crashed before it was noted"] = loop.look()
            crashing.setattr(lakehouse.isolation, "note_poison", crash_after(note))
            with pytest.raises(StreamingQueryException, match="CrashError"):
                loop.stream()
        found["crashed after it was noted"] = loop.look()
        loop.stream()
        found["set aside"] = loop.look()
        produce(settings, [numbered(904), numbered(905, symbol="ETHUSDT")])
        loop.stream()
        found["going on"] = loop.look()
        found["batched"] = loop.look(loop.batch())
        found["batched again"] = loop.look(loop.batch())
        produce(settings, [numbered(0, event_type="CANCEL", price=None, quantity=None)])
        lake.run("dlq", "redrive", "--json", "--reason", "poison")
        loop.stream()
        found["redriven after the fix"] = loop.look(loop.batch())
        giant = numbered(BATCH_POISON_ID, event_time=NEIGHBOUR, **GIANT)
        produce(settings, [giant, numbered(906, event_time=NEIGHBOUR)])
        loop.stream()
        found["poison to batch alone"] = loop.look(loop.batch())
        produce(settings, [numbered(907, event_time=NEIGHBOUR), numbered(908)])
        loop.stream()
        found["taken back"] = loop.look()
        found["batched without it"] = loop.look(loop.batch())
        yield found


def crash_before(_note: Callable[..., None]) -> Callable[..., None]:
    def crash(*_: object) -> None:
        raise CrashError

    return crash


def crash_after(note: Callable[..., None]) -> Callable[..., None]:
    def crash(*noted: Any) -> None:
        note(*noted)
        raise CrashError

    return crash


def test_the_one_event_is_set_aside_and_its_partition_goes_on(stages: dict[str, Outcome]) -> None:
    assert stages["more than is borne"].poison == []
    assert stages["crashed before it was noted"].poison == []
    [event] = stages["set aside"].poison
    assert event["topic"] == TRADES_TOPIC
    assert "ARITHMETIC_OVERFLOW" in event["error"]
    for stage in ("set aside", "going on"):
        assert stages[stage].trades.startswith("EQUAL"), stages[stage].trades
        assert stages[stage].bars.startswith("EQUAL"), stages[stage].bars


def test_it_is_looked_for_once(stages: dict[str, Outcome]) -> None:
    noted = stages["crashed after it was noted"]
    assert noted.restarts >= 3 * patience.ATTEMPTS
    later = [*stages.values()][[*stages].index("crashed after it was noted") :]
    assert {stage.restarts for stage in later} == {noted.restarts}


def test_it_is_a_dead_letter_once_with_its_error_and_its_bytes(stages: dict[str, Outcome]) -> None:
    [event] = stages["set aside"].poison
    for stage in ("batched", "batched again"):
        [letter] = stages[stage].letters
        assert (letter["stage"], letter["reason"]) == ("batch", "poison")
        assert letter["detail"] == event["error"]
        assert (letter["kafka_partition"], letter["kafka_offset"]) == (
            event["kafka_partition"],
            event["kafka_offset"],
        )
        told = EventCodec(ContractRegistry(), 1_000_000).decode(letter["payload"])
        assert (told["trade_id"], told["price"]) == (POISON_ID, LARGEST)
        assert letter["message_key"] == b"binance_spot:BTCUSDT"


def test_batch_leaves_out_the_same_and_the_layers_agree(stages: dict[str, Outcome]) -> None:
    for stage in ("batched", "batched again", "redriven after the fix"):
        assert stages[stage].verdicts == ["AGREE", "AGREE"]
        assert stages[stage].trades.startswith("EQUAL"), stages[stage].trades
        assert stages[stage].bars.startswith("EQUAL"), stages[stage].bars


def test_redriven_after_the_fix_it_counts(stages: dict[str, Outcome]) -> None:
    before, after = stages["batched again"], stages["redriven after the fix"]
    assert (after.poison, after.letters) == (before.poison, before.letters)
    # One more than before, and one less: the giant that was cancelled.
    assert before.trades == after.trades


def test_what_only_batch_cannot_compute_is_left_out_by_both(stages: dict[str, Outcome]) -> None:
    """The minute has room for one more giant, and the speed layer has it; the hour has not."""
    found = stages["poison to batch alone"]
    assert found.verdicts == ["AGREE", "AGREE"]
    [event] = (row for row in found.poison if row["layer"] == Layer.BATCH)
    assert "ARITHMETIC_OVERFLOW" in event["error"]
    codec = EventCodec(ContractRegistry(), 1_000_000)
    for stage in ("poison to batch alone", "batched without it"):
        letters = stages[stage].letters
        told = sorted(codec.decode(letter["payload"])["trade_id"] for letter in letters)
        assert told == [POISON_ID, BATCH_POISON_ID]
        assert {letter["reason"] for letter in letters} == {"poison"}
        assert stages[stage].batch_hours.startswith("EQUAL"), stages[stage].batch_hours
    for stage in ("taken back", "batched without it"):
        assert stages[stage].trades.startswith("EQUAL"), stages[stage].trades
        assert stages[stage].bars.startswith("EQUAL"), stages[stage].bars
        assert [row["layer"] for row in stages[stage].poison].count(Layer.SPEED) == 2
    assert stages["batched without it"].verdicts == ["AGREE", "AGREE"]


def isolated(lake: SmallLake, **options: Any) -> None:
    """Process what has been produced since, all of it in isolation."""
    rows = [
        {
            "topic_generation": 0,
            "kafka_partition": partition,
            "kafka_offset": offset,
            "kafka_timestamp": EPOCH,
            "payload": lake.logs[partition][offset][0],
        }
        for partition, first in lake.read.items()
        for offset in range(first, len(lake.logs[partition]))
    ]

    def process(part: DataFrame) -> None:
        limit = lake.settings.max_payload_bytes
        news = observations(lake.flow, part, ContractRegistry(), max_payload_bytes=limit)
        lake.flow.fold(lake.spark).process(news)

    records = lake.spark.createDataFrame(pa.Table.from_pylist(rows, RECORDS))
    isolate(lake.catalog, lake.flow, process, records, **options)
    lake.read = {partition: len(log) for partition, log in lake.logs.items()}


def test_a_position_goes_on_without_the_fill_that_it_cannot_hold(
    spark: SparkSession, spark_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lakehouse.transforms.fills, "MAX_NOTIONAL", UNBOUNDED)
    lake = FillsLake(spark, load_catalog(spark_settings), spark_settings)
    poison = fill(GIANT_FILLS, **GIANT)
    for number in range(GIANT_FILLS):
        lake.produce(fill(number, **GIANT))
    for event in (fill(1, customer_id="C-2"), poison, fill(20, side="SELL", **GIANT)):
        lake.produce(event)
    landed = lake.land()
    isolated(lake)
    lake.batch(landed)
    assert [record.verdict for record in lake.reconcile(landed)] == ["AGREE", "AGREE"]
    engine = SqlEngine(lake.catalog)
    kept = [one for one in lake.events() if one.event != poison]
    rows = engine.query("SELECT * FROM serving.positions").to_pylist()
    [letter] = engine.query("SELECT reason FROM bronze.dead_letters").to_pylist()
    engine.close()
    verdict = compare(
        naive_positions(kept), rows, key=("customer_id", "venue", "symbol"), ignore=HIDDEN
    )
    assert verdict.equal, verdict
    assert letter["reason"] == "poison"


def test_a_fill_that_only_activity_cannot_hold_is_in_no_table(
    spark: SparkSession,
    spark_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    told = batch.activity.customer_activity_daily

    def unable(fills: DataFrame, customers: DataFrame) -> DataFrame:
        """An activity that Spark cannot compute with a fill of a certain size."""
        divisor = F.when(F.col("notional") == FATAL, 0).otherwise(1)
        notional = (F.col("notional") / divisor).cast("decimal(38,16)")
        return told(fills.withColumn("notional", notional), customers)

    monkeypatch.setattr(batch.activity, "customer_activity_daily", unable)
    lake = FillsLake(spark, load_catalog(spark_settings), spark_settings)
    poison = fill(1, price=FATAL, quantity=Decimal(1))
    for event in (poison, fill(2)):
        lake.produce(event)
    lake.stream()
    landed = lake.land()
    lake.batch(landed)
    assert [record.verdict for record in lake.reconcile(landed)] == ["AGREE", "AGREE"]
    take_back(spark, lake.catalog, lake.flow, tmp_path / "no checkpoint")
    lake.restart_speed()
    lake.produce(fill(3))
    lake.stream()
    engine = SqlEngine(lake.catalog)
    fills = engine.query("SELECT fill_id FROM serving.fills").to_pylist()
    positions = engine.query("SELECT * FROM serving.positions").to_pylist()
    activity = engine.query("SELECT fill_count FROM gold.customer_activity_daily").to_pylist()
    letters = engine.query("SELECT reason FROM bronze.dead_letters").to_pylist()
    engine.close()
    kept = [one for one in lake.events() if one.event != poison]
    verdict = compare(
        naive_positions(kept), positions, key=("customer_id", "venue", "symbol"), ignore=HIDDEN
    )
    assert verdict.equal, verdict
    assert sorted(row["fill_id"] for row in fills) == [2, 3]
    assert activity == [{"fill_count": 1}]
    assert letters == [{"reason": "poison"}]


def test_what_batch_has_published_counts_and_is_not_set_aside(
    spark: SparkSession, spark_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled later in the log it is no poison for batch, which looks at all of it at once."""
    monkeypatch.setattr(lakehouse.transforms.trades, "MAX_NOTIONAL", UNBOUNDED)
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    for number in range(GIANTS + 1):
        lake.produce(trade(number, **GIANT))
    lake.produce(trade(0, event_type="CANCEL"))
    lake.batch(lake.land())
    isolated(lake)
    engine = SqlEngine(lake.catalog)
    assert engine.query("SELECT * FROM ops.poison_events").to_pylist() == []
    rows = engine.query("SELECT * FROM serving.bars_1m").to_pylist()
    engine.close()
    verdict = compare(naive_bars(lake.events()), rows, ignore=HIDDEN)
    assert verdict.equal, verdict


def test_where_all_events_seem_poison_none_is_set_aside(
    spark: SparkSession, spark_settings: Settings
) -> None:
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)

    def process(part: DataFrame) -> None:
        part.selectExpr("1 / (kafka_offset - kafka_offset)").collect()

    rows = pa.Table.from_pylist(
        [
            {
                "topic_generation": 0,
                "kafka_partition": 0,
                "kafka_offset": n,
                "kafka_timestamp": EPOCH,
            }
            for n in range(MOST_POISON + 1)
        ],
        RECORDS,
    )
    with pytest.raises(PoisonedStreamError, match=r"market.trades.*DIVIDE_BY_ZERO"):
        isolate(lake.catalog, lake.flow, process, spark.createDataFrame(rows))
    assert len(lake.catalog.load_table("ops.poison_events").scan().to_arrow()) == 0

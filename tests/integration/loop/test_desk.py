"""A simulated desk through the whole loop: a real broker, the real layers, judged by the oracle."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest
from embedded_lake import DEADLINE_SECONDS, EmbeddedLake, LogRecord, embedded_lake
from pyspark.sql import SparkSession

from batch.datasets.fills import Fills as FillsDataset
from batch.job import BatchJob
from batch.reconciliation import Reconciliation
from demo.oracle import LoggedEvent, compare
from demo.positions_oracle import fill_rejections, naive_fills, naive_positions
from ingestion.lander.lander import Lander
from lakehouse.intervals import Interval
from lakehouse.kafka import FILLS_TOPIC
from lakehouse.progress import read_progress
from lakehouse.settings import Settings
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec, UndecodableError
from speed.flow import Flow
from speed.flows.fills import Fills
from speed.flows.trades import Trades
from speed.query import start_query

# All of the loop runs in the set-up of the first test.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SAMPLE = Path(__file__).parents[3] / "demo" / "data" / "binance_coinm_ethusd_perp.trades.gz"
FAULTS = ("late", "duplicate", "out-of-order", "busts", "bad")
FILLS = 600
HIDDEN = ("log_partition",)
Rows = list[dict[str, Any]]


class Outcome(NamedTuple):
    """What the desk sent and what the lake made of it, before and after batch."""

    log: list[LogRecord]
    provisional: tuple[Rows, Rows]
    reconciled: tuple[Rows, Rows]
    verdicts: list[str]
    letters: Rows
    last_close: Any


@pytest.fixture(scope="module")
def outcome(
    spark: SparkSession, spark_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """Run the loop once, on the tables of the shared session."""
    settings = Settings(
        home=tmp_path_factory.mktemp("desk"),
        catalog_uri=spark_settings.catalog_address,
        warehouse=spark_settings.warehouse_address,
    )
    start = datetime.now(UTC)
    with embedded_lake(settings) as lake:
        lake.run("replay", str(SAMPLE))
        shares = [word for fault in FAULTS for word in (f"--{fault}", "0.1")]
        lake.run(
            *("oms", "simulate", str(SAMPLE), "--customers", "7", "--seed", "3"),
            *("--fills", str(FILLS), *shares),
        )
        Lander(settings, lake.catalog).run(once=True, stop=Event())
        for flow in (Trades(), Fills()):
            stream(spark, lake, flow)
        provisional = views(lake)
        progress = read_progress(lake.catalog.load_table("bronze.oms_fills"))
        assert progress is not None
        interval = Interval(start, progress.ingested_through)
        verdicts = []
        for _ in range(2):
            BatchJob(spark, lake.catalog, settings, FillsDataset()).run(interval)
            records = Reconciliation(spark, lake.catalog, FillsDataset()).run(interval)
            verdicts += [record.verdict for record in records]
        yield Outcome(
            lake.log(FILLS_TOPIC),
            provisional,
            views(lake),
            verdicts,
            lake.rows(f"SELECT * FROM bronze.dead_letters WHERE topic = '{FILLS_TOPIC}'"),
            lake.rows("SELECT max_by(close, window_start) AS it FROM serving.bars_1m")[0]["it"],
        )


def stream(spark: SparkSession, lake: EmbeddedLake, flow: Flow) -> None:
    query = start_query(spark, lake.settings, lake.catalog, flow, once=True)
    try:
        assert query.awaitTermination(DEADLINE_SECONDS)
    finally:
        query.stop()


def views(lake: EmbeddedLake) -> tuple[Rows, Rows]:
    return lake.rows("SELECT * FROM serving.fills"), lake.rows("SELECT * FROM serving.positions")


def read(log: list[LogRecord]) -> tuple[list[LoggedEvent], Counter[str]]:
    """Return the events that count, and how many are refused by which layer."""
    codec = EventCodec(ContractRegistry(), 1_000_000, topics()[FILLS_TOPIC])
    events, refused = [], Counter[str]()
    for record in log:
        try:
            event = codec.decode(record.payload)
        except UndecodableError:
            refused["undecodable"] += 1
            continue
        if fill_rejections(event, record.timestamp):
            refused["a rule"] += 1
        else:
            events.append(LoggedEvent(record.partition, record.offset, event))
    return events, refused


def test_the_desk_sent_every_kind_of_event(outcome: Outcome) -> None:
    events, refused = read(outcome.log)
    kinds = Counter(fill.state for fill in naive_fills(events, include_tombstones=True).values())
    assert len(outcome.log) == FILLS
    assert min(kinds["ACTIVE"], kinds["BUSTED"], *refused.values()) > 10
    assert len(naive_positions(events)) == 7


@pytest.mark.parametrize("when", ["provisional", "reconciled"])
def test_fills_and_positions_are_the_oracles(outcome: Outcome, when: str) -> None:
    events, _ = read(outcome.log)
    fills, positions = getattr(outcome, when)
    for expected, rows, key in (
        (naive_fills(events), fills, ("customer_id", "fill_id")),
        (naive_positions(events), positions, ("customer_id", "venue", "symbol")),
    ):
        verdict = compare(expected, rows, key=key, ignore=HIDDEN)
        assert verdict.equal, str(verdict)
        assert {row["status"] for row in rows} == {when.upper()}


def test_positions_are_marked_to_the_last_bar(outcome: Outcome) -> None:
    for position in outcome.provisional[1]:
        assert position["mark_price"] == outcome.last_close
        assert position["market_value"] == position["quantity"] * outcome.last_close
        worth = position["market_value"] - position["cost_basis"]
        assert position["unrealised_pnl"] == worth


def test_the_layers_agree_and_each_refusal_is_one_dead_letter(outcome: Outcome) -> None:
    _, refused = read(outcome.log)
    assert outcome.verdicts == ["AGREE"] * 4
    places = {(row["kafka_partition"], row["kafka_offset"]) for row in outcome.letters}
    assert len(places) == len(outcome.letters) == refused.total()

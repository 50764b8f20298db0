"""Quotes through both layers: the merged spreads are exact after every step of any history."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_histories import Step, few_histories, histories, play
from pyspark.sql import SparkSession
from quote_log import LATE, payload, quote
from small_lake import EPOCH, SmallLake

from batch.datasets.quotes import Quotes as QuotesDataset
from demo.oracle import compare
from demo.quotes import naive_quotes, naive_spreads
from ingestion.adapters import venue_named
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from serving.engine import SqlEngine
from speed.flows.quotes import Quotes as QuotesFlow

pytestmark = pytest.mark.integration

KEY = ("venue", "symbol", "window_start")
WITHOUT_TIME = "update_id = 8"
MARKED = "SELECT time_source, event_time"
RECEIVED = [{"time_source": "RECEIVED", "event_time": LATE + timedelta(seconds=1.1)}]


class QuotesLake(SmallLake):
    """A small lake whose stream is that of the quotes."""

    flow = QuotesFlow()
    dataset = QuotesDataset()

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return the payload of a quote."""
        return payload(event)


def quote_without_time(number: int, second: float) -> dict[str, Any]:
    """What becomes of a spot market's frame, which states no time, received at a second."""
    frame = {"u": number, "s": "BTCUSDT", "b": "100.5", "B": "2", "a": "103", "A": "1"}
    received_at = LATE + timedelta(seconds=second)
    since_1970 = received_at - datetime(1970, 1, 1, tzinfo=UTC)
    made = venue_named("binance_spot").adapt(
        json.dumps(frame), since_1970 // timedelta(microseconds=1)
    )
    assert made is not None
    return {**made, "event_time": received_at, "received_at": received_at}


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return QuotesLake(spark, load_catalog(spark_settings), spark_settings)


def rows(lake: SmallLake, query: str) -> list[dict[str, Any]]:
    engine = SqlEngine(lake.catalog)
    try:
        found: list[dict[str, Any]] = engine.query(query).to_pylist()
    finally:
        engine.close()
    return found


def assert_exact(lake: SmallLake) -> None:
    """Every row is what one pass over the log up to its position gives."""
    for row in rows(lake, "SELECT * FROM serving.spreads_1m"):
        seen = [one for one in lake.events() if one.position <= row["last_offset"]]
        window = {key: one for key, one in naive_spreads(seen).items() if key == _key(row)}
        verdict = compare(window, [row], key=KEY)
        assert verdict.equal, verdict


def assert_complete(lake: SmallLake) -> None:
    """The views are what one pass over the whole log gives."""
    verdict = compare(naive_spreads(lake.events()), rows(lake, "SELECT * FROM serving.spreads_1m"))
    assert verdict.equal, verdict
    quotes = rows(lake, "SELECT *, date_trunc('minute', event_time) AS minute FROM serving.quotes")
    expected = {key: {**one, "minute": key[-1]} for key, one in naive_quotes(lake.events()).items()}
    verdict = compare(expected, quotes, key=("venue", "symbol", "update_id", "minute"))
    assert verdict.equal, verdict


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def test_the_layers_meet(lake: SmallLake) -> None:
    for number in range(6):
        lake.produce(quote(number, number * 0.7))
    lake.produce(quote_without_time(8, 1.1))
    lake.stream()
    assert_complete(lake)
    assert rows(lake, f"{MARKED} FROM lake.silver.quotes_rt WHERE {WITHOUT_TIME}") == RECEIVED
    first = lake.land()
    lake.produce(quote(2, 1.4, bid_price=Decimal(1)))  # a duplicate: the first report counts
    lake.produce(quote(9, -30))  # late, and now the minute's first
    lake.batch(first)
    assert_exact(lake)
    assert rows(lake, f"{MARKED} FROM lake.silver.quotes WHERE {WITHOUT_TIME}") == RECEIVED
    lake.stream()
    assert_complete(lake)
    assert [record.verdict for record in lake.reconcile(first)] == ["AGREE", "AGREE"]
    lake.batch(lake.land())
    lake.restart_speed()
    lake.produce(quote(10, 1.9, ask_price=Decimal(104)))
    lake.stream()
    assert_complete(lake)


def test_what_cannot_be_a_quote_is_a_dead_letter_with_its_reason(lake: SmallLake) -> None:
    lake.produce(quote(1))
    for number, (field, value) in enumerate(
        {
            "bid_price": Decimal(104),
            "ask_price": Decimal(0),
            "bid_quantity": Decimal(0),
            "update_id": -1,
            "time_source": "GUESS",
            "venue": "Binance Spot",
        }.items()
    ):
        lake.produce(quote(50 + number, **{field: value}))
    lake.stream()
    lake.batch(lake.land())
    dead = rows(lake, "SELECT reason, topic FROM bronze.dead_letters")
    assert {row["topic"] for row in dead} == {"market.quotes"}
    assert sorted(row["reason"] for row in dead) == [
        *("crossed_quote", "invalid_update_id", "invalid_venue"),
        *("non_positive_price", "non_positive_quantity", "unknown_time_source"),
    ]
    assert len(rows(lake, "SELECT * FROM serving.quotes")) == 1


events = st.builds(
    quote,
    st.integers(1, 6),
    st.sampled_from([-61, -1, 0, 0.5, 1.999999, 2, 61]),
    symbol=st.sampled_from(["BTCUSDT", "ETHUSDT"]),
    bid_price=st.decimals(1, 100, places=8),
)


@few_histories
@given(history=histories(events))
def test_any_history_is_exact(
    spark: SparkSession, spark_settings: Settings, history: list[Step]
) -> None:
    lake = QuotesLake(spark, load_catalog(spark_settings), spark_settings)
    for _ in play(lake, history):
        assert_exact(lake)
    lake.stream()
    assert_complete(lake)


def test_the_most_extreme_quotes_that_are_accepted_stop_no_layer(lake: SmallLake) -> None:
    largest, smallest = Decimal("9999999999.99999999"), Decimal("0.00000001")
    widest = {"bid_price": smallest, "ask_price": largest, "bid_quantity": largest}
    extremes: list[dict[str, Any]] = [
        widest | {"ask_quantity": largest},
        widest | {"ask_quantity": smallest, "event_time": datetime(2000, 1, 1, tzinfo=UTC)},
        widest | {"event_time": EPOCH + timedelta(hours=1), "update_id": 2**63 - 1},
        # A microsecond of the minute is left for it, and the minute's first for the other.
        widest | {"event_time": LATE + timedelta(seconds=1, microseconds=999_999)},
        {"bid_price": largest, "ask_price": largest, "event_time": LATE - timedelta(seconds=58)},
    ]
    for number, fields in enumerate(extremes):
        lake.produce(quote(number, **fields))
    for number in range(100, 600):
        lake.produce(quote(number, **widest))
    lake.stream()
    assert_complete(lake)
    landed = lake.land()
    assert lake.batch(landed).refused == 0
    assert [record.verdict for record in lake.reconcile(landed)] == ["AGREE", "AGREE"]
    assert_complete(lake)

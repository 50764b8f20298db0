"""Fills and positions, from payloads to rows, and against the oracle."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fill_log import SCHEMA_ID, SCHEMA_JSON, bust, fill, payload
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, Row, SparkSession
from trade_log import NOON, RECORDS

from demo.oracle import LoggedEvent, compare
from demo.positions_oracle import naive_fills, naive_positions
from lakehouse.transforms.events import decode
from lakehouse.transforms.fills import OBSERVED_COLUMNS, observe, resolve, validate
from lakehouse.transforms.positions import positions
from schemas import contract

Event = dict[str, Any]
Judged = Callable[[list[LoggedEvent]], DataFrame]

FILL_KEY = ("customer_id", "fill_id")
POSITION_KEY = ("customer_id", "venue", "symbol")


@pytest.fixture
def judged(spark: SparkSession) -> Judged:
    """Decode and validate logged events."""

    def run(log: list[LoggedEvent]) -> DataFrame:
        rows = [
            (0, logged.partition, logged.position, NOON, payload(**logged.event)) for logged in log
        ]
        return validate(
            decode(
                spark.createDataFrame(rows, RECORDS),
                writer_schemas={SCHEMA_ID: SCHEMA_JSON},
                reader_schema=SCHEMA_JSON,
                max_payload_bytes=1_000_000,
            )
        )

    return run


def logged(*events: Event) -> list[LoggedEvent]:
    return [LoggedEvent(0, offset, event) for offset, event in enumerate(events)]


def plain(rows: DataFrame) -> list[Event]:
    """Return rows with the times' zone, as the oracle has it."""
    return [
        {
            name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
            for name, value in row.asDict().items()
        }
        for row in rows.collect()
    ]


def assert_as_the_oracle_says(fills: DataFrame, log: list[LoggedEvent]) -> None:
    expected = naive_fills(log, include_tombstones=True)
    verdict = compare(expected, plain(fills), key=FILL_KEY)
    assert verdict.equal, str(verdict)
    held = naive_positions(log, include_tombstones=True)
    verdict = compare(held, plain(positions(fills)), key=POSITION_KEY)
    assert verdict.equal, str(verdict)


def test_edges_of_the_rules_are_accepted(judged: Judged) -> None:
    events = [
        fill(0, order_id=0, customer_id="a_B-9", event_time=NOON + timedelta(hours=1)),
        fill(1, price=Decimal(10**6), quantity=Decimal(10**8), fee=Decimal("-0.5")),
        fill(2, price=Decimal("0.00000001"), quantity=Decimal("9999999999.99999999")),
    ]
    assert [row.rejection for row in judged(logged(*events)).collect()] == [None] * 3


def test_the_columns_and_types_are_those_of_the_contracts(judged: Judged) -> None:
    fills = resolve(observe(judged(logged(fill()))))
    for rows, table in ((fills, "silver.fills"), (positions(fills), "gold.positions")):
        types = {name: kind.replace("bigint", "long") for name, kind in rows.dtypes}
        stated = {
            column.name: str(column.type).replace(" ", "").replace("timestamptz", "timestamp")
            for column in contract(table).columns
        }
        assert types == stated


def one(rows: DataFrame) -> Row:
    (row,) = rows.collect()
    return row


@pytest.mark.parametrize("bust_first", [True, False])
def test_a_bust_holds_before_and_after_its_fill(judged: Judged, bust_first: bool) -> None:
    elsewhere = bust(symbol="ETHUSDT", event_time=NOON - timedelta(days=1))
    events = [elsewhere, fill()] if bust_first else [fill(), elsewhere]
    fills = resolve(observe(judged(logged(*events))))
    assert (one(fills).state, one(fills).symbol) == ("BUSTED", "BTCUSDT")
    tombstone = one(positions(fills))
    assert (tombstone.fill_count, tombstone.quantity, tombstone.last_offset) == (0, 0, 1)


def test_a_bust_that_waits_for_its_fill_is_no_position(judged: Judged) -> None:
    fills = resolve(observe(judged(logged(bust()))))
    assert one(fills).state == "UNMATCHED"
    assert positions(fills).count() == 0


def test_the_largest_position_keeps_every_digit(judged: Judged) -> None:
    """Sizes that need all digits, and a thousand of the largest fills there can be."""
    huge = [fill(n, price=Decimal(10**4), quantity=Decimal(10**10 - 1)) for n in range(1000)]
    odd = Decimal("9999999999.99999999")
    events = [
        *huge,
        fill(1000, price=Decimal("9999.99999999"), quantity=odd),
        fill(1001, side="SELL", price=Decimal("0.00000003"), quantity=odd),
        fill(1002, side="SELL", price=Decimal("0.00000007"), quantity=Decimal("0.00000001")),
    ]
    log = logged(*events)
    assert_as_the_oracle_says(resolve(observe(judged(log))), log)


CUSTOMERS = ("C-1", "C-2")
moments = st.integers(-3, 3).map(lambda hours: NOON + timedelta(hours=min(hours, 1)))
# Few values, so that positions close exactly; odd ones, so that averages must be rounded.
sizes = st.sampled_from([Decimal(text) for text in ("1", "2", "3", "0.00000001", "0.3333", "7e8")])
prices = st.sampled_from([Decimal(text) for text in ("1", "3", "0.00000007", "59999.99", "7e4")])
events_of_a_fill = st.builds(
    lambda kind, number, **said: (
        (fill if kind else bust)(number)
        | {
            name: value
            for name, value in said.items()
            if kind or name in ("customer_id", "event_time")
        }
        | {"symbol": ("BTCUSDT", "ETHUSDT")[number % 2] if kind else "BTCUSDT"}
    ),
    kind=st.sampled_from([True, True, True, False]),
    number=st.integers(0, 30),
    customer_id=st.sampled_from(CUSTOMERS),
    event_time=moments,
    side=st.sampled_from(["BUY", "SELL"]),
    quantity=sizes,
    price=prices,
    fee=st.sampled_from([Decimal("0.25"), Decimal("-0.00000001")]),
)
logs = st.lists(events_of_a_fill, min_size=40, max_size=80).map(
    lambda events: [
        LoggedEvent(CUSTOMERS.index(event["customer_id"]), offset, event)
        for offset, event in enumerate(events)
    ]
)


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(logs, st.randoms(use_true_random=False))
def test_any_order_repetition_and_batching_is_one_naive_pass(
    judged: Judged, log: list[LoggedEvent], chance: Any
) -> None:
    """Batches overlap, come in any order, and fold into rows that were folded before."""
    assert_as_the_oracle_says(resolve(observe(judged(log))), log)
    parts = [[event for event in log if chance.random() < 0.6] for _ in range(2)]
    taken = {event.position for part in parts for event in part}
    parts.append([event for event in log if event.position not in taken])
    known: DataFrame | None = None
    for part in parts:
        news = observe(judged(chance.sample(part, len(part)))) if part else None
        if known is None or news is None:
            known = known if news is None else resolve(news)
        else:
            known = resolve(news.union(known.select(*OBSERVED_COLUMNS)))
    assert known is not None
    assert_as_the_oracle_says(known, log)


def test_the_oracle_and_the_contract_name_the_same_columns() -> None:
    log = logged(fill())
    for rows, table in (
        (naive_fills(log), "silver.fills"),
        (naive_positions(log), "gold.positions"),
    ):
        (row,) = rows.values()
        assert set(asdict(row)) == set(contract(table).column_names)

"""Every reason to refuse an event, of every stream: each is given to an event that deserves it.

The reasons are the code's own, so a rule without an event here fails.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import customer_log
import fill_log
import pytest
import quote_log
import trade_log
from pyspark.sql import Column, DataFrame, SparkSession
from trade_log import NOON
from wire_rubbish import rubbish

from demo.oracle import rejections
from demo.positions_oracle import fill_rejections
from demo.quotes import quote_rejections
from lakehouse.kafka import CUSTOMERS_TOPIC, FILLS_TOPIC, QUOTES_TOPIC, TRADES_TOPIC
from lakehouse.transforms import customers, fills, quotes, trades
from lakehouse.transforms.events import decode
from schemas.registry import ContractRegistry
from schemas.topic_schemas import topic_schemas
from schemas.wire import Reason

KEY = "message_key"
RECORDS = f"{trade_log.RECORDS}, event_time timestamp, {KEY} binary"
MAX_PAYLOAD_BYTES = 1_000_000

Event = dict[str, Any]
# Reasons, each with what an event says that deserves it.
Bad = list[tuple[str, Event]]

OLD = NOON.replace(year=1999)
SOON = NOON + timedelta(hours=1, microseconds=1)
YEARS_IN_MINUTES = 60 * 24 * 366 * 30
CAPTURED_NOW = {"ts_us": customer_log.NOON_US}

OF_INSTRUMENTS: Bad = [
    ("invalid_venue", {"venue": "Binance Spot"}),
    ("invalid_symbol", {"symbol": "btc/usdt"}),
    ("event_time_too_old", {"event_time": OLD}),
    ("event_time_in_future", {"event_time": SOON}),
]
OF_EXECUTIONS: Bad = [
    *OF_INSTRUMENTS,
    ("missing_price", {"price": None}),
    ("non_positive_price", {"price": Decimal(0)}),
    ("missing_quantity", {"quantity": None}),
    ("non_positive_quantity", {"quantity": Decimal("-0.00000001")}),
    ("implausible_size", {"price": Decimal(10**9), "quantity": Decimal(10**9)}),
]


class Stream(NamedTuple):
    """One stream: its rules, its sound event, and what breaks each of the rules."""

    rules: Callable[[], Mapping[str, Column]]
    validate: Callable[[DataFrame], DataFrame]
    encode: Callable[[Event], bytes]
    sound: Event
    bad: Bad
    # All the reasons that a naive judge finds; there is none for customers.
    oracle: Callable[[Event, datetime], tuple[str, ...]] | None = None
    # What bronze has beside the payload.
    beside: Callable[[Event], Event] = lambda _: {}


STREAMS = {
    TRADES_TOPIC: Stream(
        trades.trade_rules,
        trades.validate,
        lambda event: trade_log.payload(**event),
        trade_log.DEFAULTS,
        [
            *OF_EXECUTIONS,
            ("unknown_event_type", {"event_type": "BUST"}),
            ("invalid_trade_id", {"trade_id": -1}),
            ("unknown_quantity_unit", {"quantity_unit": "LOT"}),
            ("missing_contract_size", {"quantity_unit": "CONTRACT"}),
            ("missing_contract_size", {"quantity_unit": "CONTRACT", "contract_size": Decimal(0)}),
            ("implausible_size", {"contract_size": Decimal("100000.00000001")}),
        ],
        rejections,
    ),
    QUOTES_TOPIC: Stream(
        quotes.quote_rules,
        quotes.validate,
        quote_log.payload,
        quote_log.quote(event_time=NOON),
        [
            *OF_INSTRUMENTS,
            ("invalid_update_id", {"update_id": -1}),
            ("unknown_time_source", {"time_source": "GUESS"}),
            ("non_positive_price", {"bid_price": Decimal(0)}),
            ("non_positive_price", {"ask_price": Decimal("-0.00000001")}),
            ("non_positive_quantity", {"bid_quantity": Decimal("-0.00000001")}),
            ("non_positive_quantity", {"ask_quantity": Decimal(0)}),
            ("unknown_quantity_unit", {"quantity_unit": "LOT"}),
            ("crossed_quote", {"bid_price": Decimal("103.00000002")}),
        ],
        quote_rejections,
    ),
    FILLS_TOPIC: Stream(
        fills.fill_rules,
        fills.validate,
        lambda event: fill_log.payload(**event),
        fill_log.fill(),
        [
            *OF_EXECUTIONS,
            ("unknown_event_type", {"event_type": "CANCEL"}),
            ("invalid_customer_id", {"customer_id": "C 1"}),
            ("invalid_order_id", {"order_id": -1}),
            ("invalid_fill_id", {"fill_id": -1}),
            ("unknown_side", {"side": "HOLD"}),
            ("unknown_side", {"side": None}),
            ("missing_fee", {"fee": None}),
        ],
        fill_rejections,
    ),
    CUSTOMERS_TOPIC: Stream(
        customers.change_rules,
        customers.validate_changes,
        customer_log.payload,
        customer_log.change(),
        [
            ("unknown_operation", customer_log.change("t")),
            ("missing_row", customer_log.change("u", after=None)),
            ("missing_row", customer_log.change("d", before=None, after=customer_log.row())),
            ("invalid_customer_id", customer_log.change(customer="no such id!")),
            ("key_mismatch", {KEY: b"C2"}),
            ("key_mismatch", {KEY: b"\xff"}),
            ("key_mismatch", {KEY: None}),
            ("event_time_too_old", customer_log.change(minute=-YEARS_IN_MINUTES)),
            ("event_time_in_future", customer_log.change(minute=61)),
            ("change_too_old", customer_log.change(minute=-YEARS_IN_MINUTES) | CAPTURED_NOW),
            ("change_in_future", customer_log.change(minute=61) | CAPTURED_NOW),
            ("unknown_segment", customer_log.change(segment="WHALE")),
            ("invalid_country", customer_log.change(country="Germany")),
            ("unknown_status", customer_log.change(status="BORED")),
            ("unknown_risk_class", customer_log.change(risk_class="NONE")),
        ],
        beside=lambda made: {
            KEY: customer_log.key(made),
            "event_time": customer_log.captured_at(made),
        },
    ),
}


def reasons(spark: SparkSession, topic: str, messages: list[Event]) -> list[str | None]:
    """Return the verdicts on messages that stand at offsets 0, 1, … of one partition."""
    rows = [
        (0, 0, offset, NOON, made["payload"], made.get("event_time", NOON), made.get(KEY))
        for offset, made in enumerate(messages)
    ]
    known = topic_schemas(ContractRegistry(), topic)
    decoded = decode(
        spark.createDataFrame(rows, RECORDS),
        writer_schemas=known.writers,
        reader_schema=known.reader,
        max_payload_bytes=MAX_PAYLOAD_BYTES,
    )
    judged = STREAMS[topic].validate(decoded).orderBy("kafka_offset")
    return [row.rejection for row in judged.select("rejection").collect()]


def message(stream: Stream, event: Event) -> Event:
    """Return what bronze has of an event; one may say under which key it was sent."""
    said = {name: value for name, value in event.items() if name != KEY}
    key = {KEY: event[KEY]} if KEY in event else {}
    return {"payload": stream.encode(said)} | stream.beside(said) | key


@pytest.mark.parametrize("topic", STREAMS)
def test_each_rule_refuses_with_its_reason_and_the_rest_goes_on(
    spark: SparkSession, topic: str
) -> None:
    stream = STREAMS[topic]
    assert {reason for reason, _ in stream.bad} == set(stream.rules())
    events = [*(stream.sound | fields for _, fields in stream.bad), stream.sound]
    found = reasons(spark, topic, [message(stream, event) for event in events])
    assert found == [*(reason for reason, _ in stream.bad), None]
    if stream.oracle is not None:
        assert [(*stream.oracle(event, NOON), None)[0] for event in events] == found


@pytest.mark.parametrize("topic", STREAMS)
def test_what_cannot_be_decoded_is_refused_with_its_reason(spark: SparkSession, topic: str) -> None:
    sent = message(STREAMS[topic], STREAMS[topic].sound)
    sound = sent["payload"]
    cases = rubbish(sound, cut="undecodable_payload")
    cases["cut near the end"] = (sound[:-9], "undecodable_payload")
    assert {reason for _, reason in cases.values()} == set(Reason)
    # Lenient with the last one: whatever follows a whole event is none of its business.
    payloads = [*(payload for payload, _ in cases.values()), sound + b"left over"]
    found = reasons(spark, topic, [sent | {"payload": payload} for payload in payloads])
    assert dict(zip([*cases, "left over"], found, strict=True)) == {
        name: reason for name, (_, reason) in cases.items()
    } | {"left over": None}

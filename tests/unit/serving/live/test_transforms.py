"""The live tier's definitions and the transforms that both layers run, on the same payloads.

Each stream's random log goes through Spark as log records: decoded, judged, resolved, summarised.
The live tier takes the same payloads one by one. Then every column of every row is compared, and
silver's rows, as Spark has them, are recalled and make the same again.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import fill_log
import pytest
import quote_log
import trade_log
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_logs import CASES, Case
from pyspark.sql import DataFrame, SparkSession
from trade_log import NOON, RECORDS

from demo.verdict import compare
from lakehouse.transforms import bars, fills, positions, quotes, trades
from lakehouse.transforms.events import decode
from schemas import contract, topics
from schemas.registry import ContractRegistry
from schemas.topic_schemas import topic_schemas
from schemas.wire import EventCodec
from serving.live import rules
from serving.live.relations import Values
from serving.live.rules import first_broken
from serving.live.stream import Whole

pytestmark = pytest.mark.serving

MAX_PAYLOAD_BYTES = 1_000_000
LOGS = 2


class Transforms(NamedTuple):
    """What the layers make of a stream's judged events, and how its events are encoded."""

    encode: Callable[[dict[str, Any]], bytes]
    rules: Callable[[], Any]
    validate: Callable[[DataFrame], DataFrame]
    silver: Callable[[DataFrame], DataFrame]
    gold: Callable[[DataFrame], DataFrame]


TRANSFORMS = {
    "bars_1m": Transforms(
        lambda event: trade_log.payload(**event),
        trades.trade_rules,
        trades.validate,
        lambda events: trades.resolve(trades.observe(events)),
        lambda silver: bars.bars_1m(bars.bars_1s(silver)),
    ),
    "spreads_1m": Transforms(
        quote_log.payload,
        quotes.quote_rules,
        quotes.validate,
        lambda events: quotes.resolve(quotes.observe(events)),
        quotes.spreads_1m,
    ),
    "positions": Transforms(
        lambda event: fill_log.payload(**event),
        fills.fill_rules,
        fills.validate,
        lambda events: fills.resolve(fills.observe(events)),
        positions.positions,
    ),
}


def plain(frame: DataFrame) -> list[dict[str, Any]]:
    """Return rows with the times' zone; Arrow keeps it."""
    rows: list[dict[str, Any]] = frame.toArrow().to_pylist()
    return rows


def judged(spark: SparkSession, name: str, payloads: list[bytes]) -> DataFrame:
    known = topic_schemas(ContractRegistry(), CASES[name].stream.topic)
    rows = [(0, 0, offset, NOON, payload) for offset, payload in enumerate(payloads)]
    decoded = decode(
        spark.createDataFrame(rows, RECORDS),
        writer_schemas=known.writers,
        reader_schema=known.reader,
        max_payload_bytes=MAX_PAYLOAD_BYTES,
    )
    return TRANSFORMS[name].validate(decoded)


def rows_of(case: Case, said: Iterator[tuple[dict[str, Any], int | None]]) -> list[Values]:
    """Return what the live tier makes of events, each with its position, and of silver's rows."""
    stream, wholes = case.stream, dict[tuple[str, int], Whole]()
    for one, position in said:
        key = stream.group_of(one), stream.minute_of(one)
        whole = wholes.setdefault(key, stream(*key, 0))
        if position is None:
            whole.recall(one)
        else:
            whole.take(one, position)
    return [row for whole in wholes.values() for row in whole.rows()]


@pytest.mark.parametrize("name", CASES)
@settings(
    max_examples=LOGS,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_both_make_the_same_rows(name: str, spark: SparkSession, data: st.DataObject) -> None:
    case, transforms = CASES[name], TRANSFORMS[name]
    events = data.draw(st.lists(case.events, min_size=40, max_size=80))
    payloads = [transforms.encode(event) for event in events]
    verdicts = judged(spark, name, payloads)
    silver = transforms.silver(verdicts).localCheckpoint()
    expected = dict(enumerate(plain(transforms.gold(silver))))
    key = case.stream.relation.key

    codec = EventCodec(ContractRegistry(), MAX_PAYLOAD_BYTES, topics()[case.stream.topic])
    decoded = [codec.decode(payload) for payload in payloads]
    reasons = [first_broken(case.stream.rules, event, NOON) for event in decoded]
    assert reasons == [row["rejection"] for row in plain(verdicts.orderBy("log_position"))]

    sound = [
        (event, offset)
        for offset, (event, reason) in enumerate(zip(decoded, reasons, strict=True))
        if reason is None
    ]
    for rows in (
        rows_of(case, iter(sound)),
        rows_of(case, ((row, None) for row in plain(silver.select(*case.stream.recalled)))),
    ):
        verdict = compare(expected, rows, key=key)
        assert verdict.equal, str(verdict)
        gold = contract(f"gold.{case.stream.relation.name}")
        assert all(tuple(row) == gold.column_names for row in rows)


@pytest.mark.parametrize("name", CASES)
def test_the_rules_are_the_same_in_the_same_order(name: str, spark: SparkSession) -> None:
    assert list(CASES[name].stream.rules) == list(TRANSFORMS[name].rules())


def test_the_bounds_are_the_transforms() -> None:
    assert trades.MAX_NOTIONAL.scaleb(16) == rules.MAX_TRADE_NOTIONAL
    assert fills.MAX_NOTIONAL.scaleb(16) == rules.MAX_FILL_NOTIONAL

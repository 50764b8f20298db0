"""What a client may ask for is what both layers accept: what is taken in is not refused later."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asked import BODY, CANCELLATION, CODEC
from pydantic import ValidationError
from pyspark.sql import SparkSession
from trade_log import RECORDS, SCHEMA_JSON

from lakehouse.transforms.bounds import EARLIEST_EVENT_TIME, MAX_CONTRACT_SIZE
from lakehouse.transforms.events import decode
from lakehouse.transforms.trades import validate
from serving.commands.corrections import correction_message
from serving.commands.requests import TradeCorrection

pytestmark = pytest.mark.serving

CONTRACTS = {"quantity_unit": "CONTRACT", "contract_size": "10"}
# By what is at its bound: what is accepted yet, and what no more.
BOUNDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "venue": ({"venue": "v" * 32}, {"venue": "v" * 33}),
    "symbol": ({"symbol": "A.-_" * 8}, {"symbol": "A" * 33}),
    "trade_id": ({"trade_id": 2**63 - 1}, {"trade_id": -1}),
    "event_time": (
        {"event_time": EARLIEST_EVENT_TIME.isoformat()},
        {"event_time": (EARLIEST_EVENT_TIME - timedelta(microseconds=1)).isoformat()},
    ),
    "price": ({"price": "0.00000001"}, {"price": "0"}),
    "quantity": ({"quantity": "0.00000001"}, {"quantity": "0"}),
    "notional": (
        {"price": "1000000000", "quantity": "1000000"},
        {"price": "1000000000", "quantity": "1000000.00000001"},
    ),
    "contract": (
        CONTRACTS | {"contract_size": str(MAX_CONTRACT_SIZE)},
        CONTRACTS | {"contract_size": f"{MAX_CONTRACT_SIZE}.00000001"},
    ),
}


def payload_of(body: dict[str, Any]) -> bytes:
    return correction_message(TradeCorrection.model_validate(body), CODEC.encode, {}).payload


def payload_as_it_is(body: dict[str, Any]) -> bytes:
    """The event of a body that nobody has looked at."""
    amounts = ("price", "quantity", "contract_size")
    fields = {n: Decimal(v) if n in amounts else v for n, v in body.items() if n != "kind"}
    fields["event_time"] = datetime.fromisoformat(body["event_time"])
    return CODEC.encode({"event_type": "CORRECTION", "quantity_unit": "BASE"} | fields)


def rejections(spark: SparkSession, payloads: list[bytes]) -> list[str | None]:
    now = datetime.now(UTC)
    rows = [(0, 0, offset, now, payload) for offset, payload in enumerate(payloads)]
    records = spark.createDataFrame(rows, RECORDS)
    schemas = {CODEC.schema_id: SCHEMA_JSON}
    events = decode(
        records, writer_schemas=schemas, reader_schema=SCHEMA_JSON, max_payload_bytes=1_000_000
    )
    judged = validate(events).orderBy("log_position").collect()
    return [row.rejection for row in judged]


def test_what_is_taken_in_both_layers_accept_and_the_next_value_neither(
    spark: SparkSession,
) -> None:
    accepted = [payload_of(BODY | within) for within, _ in BOUNDS.values()]
    accepted += [payload_of(body) for body in (BODY, CANCELLATION, BODY | CONTRACTS)]
    beyond = [payload_as_it_is(BODY | outside) for _, outside in BOUNDS.values()]
    judged = rejections(spark, accepted + beyond)
    assert judged[: len(accepted)] == [None] * len(accepted)
    assert all(judged[len(accepted) :]), dict(zip(BOUNDS, judged[len(accepted) :], strict=True))


@pytest.mark.parametrize("bound", BOUNDS)
def test_what_is_beyond_a_bound_is_not_taken_in(bound: str) -> None:
    with pytest.raises(ValidationError):
        TradeCorrection.model_validate(BODY | BOUNDS[bound][1])

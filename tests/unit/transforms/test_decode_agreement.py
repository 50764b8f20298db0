"""Damaged bytes, read by Spark, by the lander and by a third reader.

An event that the lander refuses never reaches batch. If speed counted it all the same, nothing
would ever take it back. So whatever Spark takes for an event, the lander has to land, with the
same event time; and what Spark reads has to be what the bytes say.
"""

import io
import random
from collections.abc import Callable, Iterator

import fastavro
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from trade_log import STORED_PRICE, STORED_SCHEMA, stored_decimal, stored_payload

from ingestion.lander.columns import EARLIEST_US, LATEST_US, EventSorter
from lakehouse.kafka import TRADES_TOPIC
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec, Reason, UndecodableError

MAX_PAYLOAD_BYTES = 1_000_000
HEADER = b"\x00\x00\x00\x00\x01"
RANDOM_PAYLOADS = 2_000
TEXTS = ("event_type", "venue", "symbol", "quantity_unit", "aggressor_side")
NUMBERS = ("trade_id", "event_time", "received_at")
DECIMALS = ("price", "quantity", "contract_size")
# Ends of a varint, of a length and of a sign, and bits that turn one into another.
TELLING_BYTES = (0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF)

Decoded = Callable[[list[bytes]], DataFrame]
Reading = dict[str, int | bytes | None]


WHOLE = [
    stored_payload(),
    stored_payload(event_type=b"CANCEL", price=None, quantity=None, aggressor_side=None),
    stored_payload(contract_size=b"\x05", quantity_unit=b"CONTRACT", received_at=1, trade_id=2**62),
]
ODD = [
    *(
        stored_payload(event_time=us)
        for us in (-(2**63), EARLIEST_US - 1, LATEST_US + 1, 2**63 - 1)
    ),
    *(stored_payload(**{name: 2**63 - 1}) for name in NUMBERS),
    # Numbers of 18, 19, 20, 38, 39 and 40 digits, and such as begin again after 64 bits.
    *(
        stored_payload(**{name: stored_decimal(sign * value)})
        for name in DECIMALS
        for value in (10**18 - 1, 10**18, 10**19, 2**64 + 5, 10**38 - 1, 10**38, 10**39 + 5)
        for sign in (1, -1)
    ),
    *(
        stored_payload(**{name: size * b"\x00" + b"\x05"})
        for name in DECIMALS
        for size in (1, 8, 40)
    ),
    *(stored_payload(**{name: b""}) for name in (*TEXTS, *DECIMALS)),
    *(stored_payload(**{name: b"\xff\xfe"}) for name in TEXTS),
    # Lengths of up to two gigabytes: whoever makes room for them before looking is gone.
    *(
        stored_payload().partition(STORED_PRICE)[0][:-1] + length
        for length in (b"\xfe\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x08")
    ),
    stored_payload() + b"left over",
    stored_payload(venue=b"x" * 10_000),
]


@pytest.fixture(autouse=True)
def generated_code(spark: SparkSession) -> Iterator[None]:
    """Read by generated code, as production does; the other tests' small plans are interpreted."""
    as_in_production = {
        "spark.sql.codegen.wholeStage": "true",
        "spark.sql.codegen.factoryMode": "FALLBACK",
    }
    before = {name: spark.conf.get(name) for name in as_in_production}
    for name, value in as_in_production.items():
        spark.conf.set(name, value)
    yield
    for name, value in before.items():
        spark.conf.set(name, str(value))


def systematic() -> Iterator[bytes]:
    """Every whole event cut at every byte, and with every byte replaced by telling ones."""
    for payload in WHOLE:
        for place in range(len(payload)):
            yield payload[:place]
            for byte in (*TELLING_BYTES, payload[place] ^ 1, payload[place] ^ 0x80):
                yield payload[:place] + bytes([byte]) + payload[place + 1 :]


def damaged(chance: random.Random) -> bytes:
    """One event with one to three pieces replaced, taken out, put in or repeated."""
    payload = bytearray(chance.choice(WHOLE + ODD[:30]))
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(HEADER), max(len(payload), len(HEADER) + 1))
        end = start + chance.randrange(12)
        piece = chance.choice((b"", b"\x80" * 9, chance.randbytes(6), payload[start:end] * 2))
        payload[start : chance.choice((start, end))] = piece
    return bytes(payload)


def spark_readings(events: DataFrame) -> list[Reading | None]:
    """What Spark makes of each payload: its fields as Avro stores them, or None if refused."""
    rows = (
        events.orderBy("log_position")
        .select(
            "rejection",
            *(F.col(name).cast("binary").alias(name) for name in TEXTS),
            "trade_id",
            *(F.unix_micros(name).alias(name) for name in ("event_time", "received_at")),
            *(F.col(name).cast("string").alias(name) for name in DECIMALS),
        )
        .toArrow()
        .to_pylist()
    )
    undecodable = {reason.value for reason in Reason}
    readings: list[Reading | None] = []
    for row in rows:
        if row.pop("rejection") in undecodable:
            readings.append(None)
            continue
        unscaled = {
            name: row[name] if row[name] is None else int(row[name].replace(".", ""))
            for name in DECIMALS
        }
        readings.append(row | unscaled)
    return readings


def third_reading(payload: bytes) -> Reading:
    """The fields as the bytes have them, by a reader that is neither Spark's nor the lander's."""
    record: Reading = fastavro.schemaless_reader(io.BytesIO(payload[5:]), STORED_SCHEMA, None)
    for name in NUMBERS:
        if record[name] is not None:  # ten groups of seven bits are more than a long has
            record[name] = (int(record[name]) + 2**63) % 2**64 - 2**63
    for name in DECIMALS:
        if record[name] is not None:
            record[name] = int.from_bytes(record[name], "big", signed=True)
    return record


def lander_readings(payloads: list[bytes]) -> dict[int, int]:
    """The event time, in microseconds, of each payload that the lander lands."""
    offsets = pa.array(range(len(payloads)), pa.int64())
    columns = pa.table({"kafka_offset": offsets, "payload": pa.array(payloads, pa.binary())})
    sorter = EventSorter(ContractRegistry(), TRADES_TOPIC, max_payload_bytes=MAX_PAYLOAD_BYTES)
    found = sorter.sort(columns)
    assert len(found.accepted) + len(found.refused) == len(payloads)
    times = found.accepted["event_time"].cast(pa.int64()).to_pylist()
    return dict(zip(found.accepted["kafka_offset"].to_pylist(), times, strict=True))


def check(payloads: list[bytes], events: DataFrame) -> int:
    """Compare the readers; return how many of the payloads are events to all of them."""
    landed = lander_readings(payloads)
    codec = EventCodec(ContractRegistry(), MAX_PAYLOAD_BYTES)
    readings = spark_readings(events)
    for place, (payload, reading) in enumerate(zip(payloads, readings, strict=True)):
        if reading is None:
            with pytest.raises(UndecodableError):
                codec.decode(payload)  # what the strict reader takes, Spark must take
            continue
        assert reading == third_reading(payload), payload
        assert place in landed, payload
        event_time = reading["event_time"]
        assert isinstance(event_time, int)
        assert landed[place] == min(max(event_time, EARLIEST_US), LATEST_US), payload
    return sum(reading is not None for reading in readings)


def test_every_cut_and_every_telling_byte(decoded: Decoded) -> None:
    payloads = [*WHOLE, *ODD, *systematic()]
    accepted = check(payloads, decoded(payloads))
    assert len(WHOLE) < accepted < len(payloads)


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32))
def test_random_damage(decoded: Decoded, seed: int) -> None:
    chance = random.Random(seed)
    payloads = [damaged(chance) for _ in range(RANDOM_PAYLOADS)]
    assert check(payloads, decoded(payloads)) > 0

"""Bad input at the log and in recordings: each is refused with its reason, once; the rest goes on.

One lake meets all of it in one go, between sound events, through the real broker and the real
layers. What the lander cannot decode as far as it must becomes a dead letter there; what only a
full look finds, batch turns into one.
"""

import gzip
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer
from embedded_lake import DEADLINE_SECONDS, EmbeddedLake, embedded_lake
from pyspark.sql import SparkSession
from trade_log import STORED_PRICE, payload, stored_decimal, stored_payload
from wire_rubbish import SOUND as WHOLE
from wire_rubbish import Cases, rubbish

from batch.datasets.trades import Trades as TradesDataset
from batch.job import BatchJob
from batch.reconciliation import Reconciliation
from demo.oracle import LoggedEvent, compare, naive_bars, naive_trades
from ingestion.lander.lander import Lander
from lakehouse.intervals import Interval
from lakehouse.kafka import DEAD_LETTERS_TOPIC, TRADES_TOPIC
from lakehouse.settings import Settings
from schemas import landed_topics
from speed.flows.trades import Trades
from speed.query import start_query

# All of the loop runs in the set-up of the first test.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NOW = datetime.now(UTC).replace(microsecond=0)
NOW_US = int(NOW.timestamp()) * 1_000_000
HOUR_US = 3_600_000_000
YEAR_9999_ENDS_US = 253_402_300_799_999_999
YEAR_1_BEGINS_US = -62_135_596_800_000_000
SOUND = payload(event_time=NOW)
# Beside the trades, the lander meets what cannot be decoded on every other topic.
OTHERS = sorted({*WHOLE} - {TRADES_TOPIC})


def rubbish_of(topic: str) -> Cases:
    return rubbish(WHOLE[topic], cut="truncated_payload")


def stored(**fields: Any) -> bytes:
    return stored_payload(**{"event_time": NOW_US} | fields)


LANDER_REFUSES: Cases = rubbish(SOUND, cut="truncated_payload") | {
    "cut within the symbol": (SOUND[:28], "truncated_payload"),
    "a number for a text": (SOUND[:5] + b"\x53" + SOUND[6:], "truncated_payload"),
    "10 MB": (stored(symbol=b"X" * 10_000_000), "payload_too_large"),
}
BATCH_REFUSES: Cases = {
    "cut within the price": (SOUND[: SOUND.index(STORED_PRICE) + 2], "undecodable_payload"),
    "a text of 2 GB claimed": (
        stored().partition(STORED_PRICE)[0][:-1] + b"\xfe\xff\xff\xff\x0f",
        "undecodable_payload",
    ),
    "an unknown branch": (SOUND[:-1] + b"\x08", "undecodable_payload"),
    "40 digits": (stored(price=stored_decimal(10**39)), "undecodable_payload"),
    "5 units and 2**64": (stored(price=stored_decimal(2**64 + 5)), "undecodable_payload"),
    "19 digits": (stored(quantity=stored_decimal(10**18)), "undecodable_payload"),
    "unknown type": (stored(event_type=b"BUST"), "unknown_event_type"),
    "no type": (stored(event_type=b""), "unknown_event_type"),
    "a venue that is none": (stored(venue=b"Binance Spot"), "invalid_venue"),
    "a symbol that is no UTF-8": (stored(symbol=b"BTC\xff\xfe"), "invalid_symbol"),
    "a symbol of two lines": (stored(symbol=b"BTCUSDT\n"), "invalid_symbol"),
    "a negative id": (stored(trade_id=-1), "invalid_trade_id"),
    "no price": (stored(price=None), "missing_price"),
    "a price of zero": (stored(price=b"\x00"), "non_positive_price"),
    "a negative price": (stored(price=b"\xff"), "non_positive_price"),
    "no quantity": (stored(quantity=None), "missing_quantity"),
    "a quantity of zero": (stored(quantity=b"\x00"), "non_positive_quantity"),
    "a negative quantity": (stored(quantity=b"\x80"), "non_positive_quantity"),
    "an unknown unit": (stored(quantity_unit=b"LOT"), "unknown_quantity_unit"),
    "contracts of no size": (stored(quantity_unit=b"CONTRACT"), "missing_contract_size"),
    "more money than there is": (
        stored(price=stored_decimal(10**18 - 1), quantity=stored_decimal(10**18 - 1)),
        "implausible_size",
    ),
    "the past century": (stored(event_time=-HOUR_US), "event_time_too_old"),
    "before the year 1": (stored(event_time=YEAR_1_BEGINS_US - 1), "event_time_too_old"),
    "the first of all times": (stored(event_time=-(2**63)), "event_time_too_old"),
    "tomorrow": (stored(event_time=NOW_US + 24 * HOUR_US), "event_time_in_future"),
    "after the year 9999": (stored(event_time=YEAR_9999_ENDS_US + 1), "event_time_in_future"),
    "the last of all times": (stored(event_time=2**63 - 1), "event_time_in_future"),
}
# Lenient where it costs nothing: whatever follows a whole event is none of its business.
ACCEPTED = {"bytes left over": payload(trade_id=900, event_time=NOW) + b"left over"}

FRAME = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":%d,"p":"%s","q":"0.5",'
    b'"T":%d,"m":true}}'
)


def frame(number: int, price: bytes = b"61837.63") -> bytes:
    return FRAME % (number, price, NOW_US // 1000)


FRAMES: dict[bytes, str | None] = {
    b"1 " + frame(5001): None,
    b"2 " + frame(5002)[:-30]: "malformed_json",
    b"3 " + frame(5003).replace(b'"t":5003,', b""): "missing_field",
    b"4 " + frame(5004).replace(b"5004", b'"5004"'): "wrong_type",
    b"5 " + frame(5005, b"NaN"): "malformed_decimal",
    b"6 " + frame(5006, b"Infinity"): "malformed_decimal",
    b"7 " + frame(5007, b"1" * 40): "decimal_out_of_range",
    b"8 " + frame(5008).replace(b'"0.5"', b"NaN"): "non_finite_number",
    b"9 \xff\xfe{}": "malformed_encoding",
    b"a line of some other file": "malformed_line",
    b"10 " + frame(5010).replace(b"BTCUSDT", b"BTCUSD_PERP"): "wrong_venue",
    b"11 " + frame(5011): None,
}


class Sent(NamedTuple):
    """Where a message came to stand, and what has to become of it."""

    partition: int
    offset: int
    value: bytes | None
    event: dict[str, Any] | None
    stage: str
    reason: str


class Outcome(NamedTuple):
    """The lake after everything was sent, streamed, and batched and reconciled twice."""

    lake: EmbeddedLake
    sent: list[Sent]
    provisional: list[dict[str, Any]]
    letters: list[list[dict[str, Any]]]
    """All dead letters, after the first and after the second batch run."""
    verdicts: list[str]


def sound(trade_id: int) -> dict[str, Any]:
    """An event of a symbol of its own partition or not, at the time of the bad ones."""
    return {
        "event_type": "TRADE",
        "venue": "binance_spot",
        "symbol": ("BTCUSDT", "ETHUSDT", "SOLUSDT")[trade_id % 3],
        "trade_id": trade_id,
        "event_time": NOW + timedelta(milliseconds=trade_id),
        "price": Decimal(100 + trade_id),
        "quantity": Decimal(2),
        "quantity_unit": "BASE",
        "contract_size": None,
        "aggressor_side": "BUY",
    }


def messages() -> Iterator[tuple[bytes | None, dict[str, Any] | None, str, str]]:
    """Every bad message, each followed by a sound one."""
    number = 0
    for stage, cases in (("lander", LANDER_REFUSES), ("batch", BATCH_REFUSES)):
        for value, reason in cases.values():
            number += 1
            yield value, None, stage, reason
            yield payload(**sound(number)), sound(number), "", ""
    for value in ACCEPTED.values():
        yield value, sound(0) | {"symbol": "BTCUSDT", "trade_id": 900, "event_time": NOW}, "", ""


def produce(bootstrap_servers: str) -> list[Sent]:
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "message.max.bytes": 16_000_000, "linger.ms": 5}
    )
    sent: list[Sent] = []
    for value, event, stage, reason in messages():

        def note(error: Any, message: Any, rest: tuple[Any, ...] = (event, stage, reason)) -> None:
            assert error is None
            sent.append(Sent(message.partition(), message.offset(), message.value(), *rest))

        key = f"binance_spot:{event['symbol']}" if event else "binance_spot:BTCUSDT"
        producer.produce(TRADES_TOPIC, value, key, on_delivery=note)
    for topic in OTHERS:
        for value, _ in rubbish_of(topic).values():
            producer.produce(topic, value)
            producer.produce(topic, WHOLE[topic])
    assert producer.flush(DEADLINE_SECONDS) == 0
    return sent


@pytest.fixture(scope="module")
def outcome(
    spark: SparkSession, spark_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """Run the loop once over all of it, in this process, on the tables of the shared session."""
    settings = Settings(
        home=tmp_path_factory.mktemp("bad-input"),
        catalog_uri=spark_settings.catalog_address,
        warehouse=spark_settings.warehouse_address,
    )
    with embedded_lake(settings) as lake:
        sent = produce(settings.bootstrap_servers)
        files = recordings(tmp_path_factory.mktemp("recordings"))
        lake.run("replay", *map(str, files), "--venue", "binance_spot")
        Lander(settings, lake.catalog).run(once=True, stop=Event())
        query = start_query(spark, settings, lake.catalog, Trades(), once=True)
        try:
            assert query.awaitTermination(DEADLINE_SECONDS)
        finally:
            query.stop()
        provisional = lake.rows("SELECT * FROM serving.trades")
        interval = Interval(NOW - timedelta(hours=1), lake.ingested_through())
        letters, verdicts = [], []
        for _ in range(2):
            BatchJob(spark, lake.catalog, settings, TradesDataset()).run(interval)
            letters.append(lake.rows("SELECT * FROM bronze.dead_letters"))
            records = Reconciliation(spark, lake.catalog, TradesDataset()).run(interval)
            verdicts += [record.verdict for record in records]
        yield Outcome(lake, sent, provisional, letters, verdicts)


def recordings(folder: Path) -> list[Path]:
    """A recording with Windows line ends, one that ends in the middle, one that is no gzip."""
    plain, cut, fake = folder / "frames.txt", folder / "cut.gz", folder / "fake.gz"
    plain.write_bytes(b"".join(line + b"\r\n" for line in FRAMES))
    whole = gzip.compress(b"".join(b"%d %s\n" % (n, frame(6000 + n)) for n in range(2000)))
    cut.write_bytes(whole[: len(whole) // 2])
    fake.write_bytes(b"1 " + frame(7000))
    return [plain, cut, fake]


def of_topic(letters: list[dict[str, Any]], topic: str) -> list[dict[str, Any]]:
    return [letter for letter in letters if letter["topic"] == topic]


def test_each_is_refused_once_with_its_reason_where_it_can_be_told(outcome: Outcome) -> None:
    names = {
        (value, reason): name for name, (value, reason) in (LANDER_REFUSES | BATCH_REFUSES).items()
    }
    expected = Counter(
        (names[s.value, s.reason], s.partition, s.offset, s.stage, s.reason, s.value)
        for s in outcome.sent
        if s.event is None
    )
    found = Counter(
        (
            names.get((letter["payload"], letter["reason"]), letter["reason"]),
            letter["kafka_partition"],
            letter["kafka_offset"],
            letter["stage"],
            letter["reason"],
            letter["payload"],
        )
        for letter in of_topic(outcome.letters[0], TRADES_TOPIC)
    )
    assert found == expected
    assert len(expected) == len(LANDER_REFUSES) + len(BATCH_REFUSES)


@pytest.mark.parametrize("topic", OTHERS)
def test_of_every_topic_the_lander_refuses_what_cannot_be_decoded(
    outcome: Outcome, topic: str
) -> None:
    letters = of_topic(outcome.letters[0], topic)
    assert {letter["stage"] for letter in letters} == {"lander"}
    found = Counter((letter["payload"], letter["reason"]) for letter in letters)
    assert found == Counter(rubbish_of(topic).values())
    landed = outcome.lake.rows(f"SELECT payload FROM {landed_topics()[topic]}")
    assert [row["payload"] for row in landed] == [WHOLE[topic]] * len(letters)


def test_a_second_run_doubles_no_dead_letter(outcome: Outcome) -> None:
    first, second = (
        Counter(
            (row["topic"], row["kafka_partition"], row["kafka_offset"], row["stage"])
            for row in letters
        )
        for letters in outcome.letters
    )
    assert first == second
    assert set(first.values()) == {1}


def test_bronze_has_every_message_that_the_lander_did_not_refuse(outcome: Outcome) -> None:
    rows = outcome.lake.rows("SELECT kafka_partition, kafka_offset FROM bronze.market_trades")
    in_bronze = Counter((row["kafka_partition"], row["kafka_offset"]) for row in rows)
    refused = {(s.partition, s.offset) for s in outcome.sent if s.stage == "lander"}
    log = Counter((r.partition, r.offset) for r in outcome.lake.log())
    assert in_bronze == Counter({place: 1 for place in log if place not in refused})


def test_the_rest_goes_on_and_the_layers_agree(outcome: Outcome) -> None:
    replayed = {
        (r.partition, r.offset): r.payload
        for r in outcome.lake.log()
        if (r.partition, r.offset) not in {(s.partition, s.offset) for s in outcome.sent}
    }
    events = [
        LoggedEvent(s.partition, s.offset, s.event) for s in outcome.sent if s.event is not None
    ] + [LoggedEvent(*place, decode(value)) for place, value in replayed.items()]
    trades = naive_trades(events)
    key = ("venue", "symbol", "trade_id", "event_time")
    ignore = ("log_partition",)
    assert outcome.verdicts == ["AGREE"] * 4
    assert str(compare(trades, outcome.provisional, key=key, ignore=ignore)).startswith("EQUAL")
    merged = outcome.lake.rows("SELECT * FROM serving.trades")
    assert str(compare(trades, merged, key=key, ignore=ignore)).startswith("EQUAL")
    bars = outcome.lake.rows("SELECT * FROM serving.bars_1m")
    assert str(compare(naive_bars(events), bars, ignore=ignore)).startswith("EQUAL")
    assert {bar["status"] for bar in bars} == {"RECONCILED"}


def decode(value: bytes | None) -> dict[str, Any]:
    from schemas.registry import ContractRegistry
    from schemas.wire import EventCodec

    return EventCodec(ContractRegistry(), 1_000_000).decode(value)


def test_times_beyond_the_calendar_can_be_read_by_every_engine(
    outcome: Outcome, spark: SparkSession
) -> None:
    query = "SELECT min(event_time) AS first, max(event_time) AS last FROM {}"
    edges = (datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    [row] = outcome.lake.rows(query.format("bronze.market_trades"))
    assert (row["first"], row["last"]) == edges
    [row] = spark.sql(query.format("lake.bronze.market_trades")).toArrow().to_pylist()
    assert (row["first"], row["last"]) == edges
    table = outcome.lake.catalog.load_table("bronze.market_trades")
    later = table.scan(row_filter=f"event_time > '{NOW.isoformat()}'").to_arrow()
    assert max(later["event_time"].to_pylist()) == edges[1]


def test_frames_that_cannot_be_read_are_dead_letters_with_file_and_line(outcome: Outcome) -> None:
    letters = of_topic(outcome.letters[0], DEAD_LETTERS_TOPIC)
    assert {letter["stage"] for letter in letters} == {"producer"}
    found = {
        (Path(letter["source"]).name.rpartition(":")[0], letter["source"].rpartition(":")[2]): (
            letter["reason"]
        )
        for letter in letters
    }
    by_line = {line: reason for (name, line), reason in found.items() if name == "frames.txt"}
    expected = {str(n): reason for n, reason in enumerate(FRAMES.values(), 1) if reason}
    assert by_line == expected
    others = {name: reason for (name, _), reason in found.items() if name != "frames.txt"}
    assert others == {"cut.gz": "truncated_gzip", "fake.gz": "not_gzip"}
    assert len(letters) == len(found) == len(expected) + len(others)

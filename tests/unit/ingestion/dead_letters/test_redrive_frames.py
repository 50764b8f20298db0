"""A frame that a producer refused is given to its venue's adapter again."""

import json
from decimal import Decimal
from typing import Any

import pytest
from dead_letter_rows import refuse, row
from pyiceberg.catalog import Catalog
from redriving import (
    CODECS,
    FRAMES,
    QUOTES,
    TRADES,
    FakeKafka,
    recorded,
    redrive,
    refused_again,
    verdicts,
)

from ingestion.adapters import UnknownVenueError, venue_named
from ingestion.dead_letters.redrive import Verdict
from ingestion.dead_letters.remaking import venue_of_source

TRADE = {"e": "trade", "s": "BTCUSDT", "t": 7, "p": "1.5", "q": "2", "T": 1_000, "m": True}


def frame(offset: int, payload: bytes, reason: str = "malformed_json") -> dict[str, Any]:
    headers = {"reason": reason.encode(), "stage": b"producer", "source": b"x"}
    return row(
        offset,
        topic=FRAMES,
        stage="producer",
        reason=reason,
        source=f"/data/binance_spot_btcusdt.gz:{offset}",
        message_key=None,
        headers=headers,
        payload=payload,
    )


def test_a_frame_is_given_to_its_venues_adapter_again(catalog: Catalog, kafka: FakeKafka) -> None:
    trade = json.dumps(TRADE).encode()
    refuse(
        catalog,
        frame(0, trade),
        frame(1, trade[:-5]),
        frame(2, b'{"result": null, "id": 1}'),
        frame(3, b"1500000000000000000 " + trade.replace(b"7", b"8"), "malformed_line"),
        frame(4, b"nothing", "malformed_line"),
    )
    found = redrive(catalog, kafka)
    assert verdicts(found) == [
        Verdict.SENT,
        Verdict.REFUSED,
        Verdict.IGNORED,
        Verdict.SENT,
        Verdict.REFUSED,
    ]
    assert str(found[1].detail).startswith("malformed_json: ")
    first, second = (CODECS[TRADES].decode(payload) for _, _, payload, *_ in kafka.log)
    assert (first["trade_id"], first["price"], first["received_at"]) == (7, Decimal("1.5"), None)
    assert (second["trade_id"], second["received_at"].year) == (8, 2017)
    topic, key, _, headers, _ = kafka.log[0]
    assert (topic, key) == (TRADES, b"binance_spot:BTCUSDT")
    assert headers.keys() == {"redrive-of", "redrive-origin", "redrive-attempt", "redrive-id"}
    assert headers["redrive-of"] == b"ingest.dead_letters/0/0/0"
    outcomes = [(one["kafka_offset"], one["outcome"]) for one in recorded(catalog)]
    assert sorted(outcomes) == [
        (0, "SENT"),
        (1, "REFUSED"),
        (2, "IGNORED"),
        (3, "SENT"),
        (4, "REFUSED"),
    ]
    # What the adapter refuses still may be mended by the next fix; the rest is done with.
    again = redrive(catalog, kafka)
    assert [d.letter.place.offset for d in again if d.verdict is Verdict.REFUSED] == [1, 4]  # type: ignore[union-attr]
    assert len(kafka.log) == 2


def test_a_quote_goes_to_its_topic_with_the_time_at_which_it_was_received(
    catalog: Catalog, kafka: FakeKafka
) -> None:
    fields = {"u": 1, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"}
    quote = json.dumps({"stream": "btcusdt@bookTicker", "data": fields}).encode()
    known = frame(0, quote)
    known["headers"] = known["headers"] | {"received_at_ns": b"1500000000000000000"}
    unknown = frame(1, quote)
    unknown["headers"] = unknown["headers"] | {"received_at_ns": b"yesterday"}
    refuse(catalog, known, unknown)
    assert verdicts(redrive(catalog, kafka)) == [Verdict.SENT, Verdict.REFUSED]
    ((topic, key, payload, *_),) = kafka.log
    assert (topic, key) == (QUOTES, b"binance_spot:BTCUSDT")
    event = CODECS[QUOTES].decode(payload)
    assert (event["event_time"].year, event["received_at"].year) == (2017, 2017)


def test_a_frame_whose_event_is_refused_again_is_of_the_frames_family(
    catalog: Catalog, kafka: FakeKafka
) -> None:
    refuse(catalog, frame(0, json.dumps(TRADE).encode()))
    redrive(catalog, kafka)
    refuse(catalog, refused_again(kafka, 0))
    assert verdicts(redrive(catalog, kafka, max_attempts=1)) == [
        Verdict.ALREADY,
        Verdict.EXHAUSTED,
    ]
    redrive(catalog, kafka)
    assert kafka.log[1][3]["redrive-origin"] == b"ingest.dead_letters/0/0/0"
    assert kafka.log[1][3]["redrive-attempt"] == b"2"


def test_the_venue_is_that_of_the_option_the_stream_or_the_file(
    catalog: Catalog, kafka: FakeKafka
) -> None:
    trade = json.dumps(TRADE).encode()
    refuse(catalog, frame(0, trade) | {"source": "ws://127.0.0.1:1/stream"})
    assert verdicts(redrive(catalog, kafka)) == [Verdict.UNFIT]
    found = redrive(catalog, kafka, venue=venue_named("binance_usdm"))
    assert verdicts(found) == [Verdict.SENT]
    assert kafka.log[0][1] == b"binance_usdm:BTCUSDT"
    spot, coinm = venue_named("binance_spot"), venue_named("binance_coinm")
    assert venue_of_source(coinm.stream_address(coinm.default_base, ["BTCUSD_PERP"])) == coinm
    assert venue_of_source("/some/where/binance_spot_btcusdt.gz:12") == spot
    for source in (None, "", "frames.txt:1"):
        with pytest.raises(UnknownVenueError):
            venue_of_source(source)

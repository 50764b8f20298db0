"""What was refused gets another try: what is sent, what stays, and what is written down of it."""

from typing import Any

import pytest
from dead_letter_rows import NOON, refuse, row
from pyiceberg.catalog import Catalog
from redriving import ALL, FRAMES, TRADES, FakeKafka, recorded, redrive, redriver, verdicts

from ingestion.dead_letters import letters as reading
from ingestion.dead_letters.letters import Selection
from ingestion.dead_letters.lineage import Coordinates
from ingestion.dead_letters.redrive import Verdict
from lakehouse.delivery import DeliveryError


def test_a_redriven_event_is_new_of_the_same_key_and_payload_and_names_the_old(
    catalog: Catalog, kafka: FakeKafka
) -> None:
    refuse(catalog, row(41, topic_generation=2, kafka_partition=3, headers={"trace": b"t"}))
    run = redriver(catalog, kafka)
    assert verdicts(list(run.run(ALL))) == [Verdict.SENT]
    ((topic, key, payload, headers, partition),) = kafka.log
    assert (topic, key, payload) == (TRADES, b"binance_spot:BTCUSDT", b"junk")
    assert partition == -1, "the key decides"
    assert headers == {
        "trace": b"t",
        "redrive-of": b"market.trades/2/3/41",
        "redrive-origin": b"market.trades/2/3/41",
        "redrive-attempt": b"1",
        "redrive-id": run.redrive_id.encode(),
    }
    (one,) = recorded(catalog)
    assert one | {"redriven_at": NOON} == {
        "redrive_id": run.redrive_id,
        "topic": TRADES,
        "topic_generation": 2,
        "kafka_partition": 3,
        "kafka_offset": 41,
        "stage": "lander",
        "reason": "bad_magic_byte",
        "refused_at": NOON,
        "origin": "market.trades/2/3/41",
        "attempt": 1,
        "outcome": "SENT",
        "detail": None,
        "sent_topic": TRADES,
        "sent_partition": 0,
        "sent_offset": 1000,
        "redriven_at": NOON,
    }


def test_what_was_redriven_is_left_out_unless_it_is_meant(
    catalog: Catalog, kafka: FakeKafka
) -> None:
    refuse(catalog, row(1), row(2))
    redrive(catalog, kafka, Selection(places=(Coordinates(TRADES, 0, 0, 1),)))
    assert verdicts(redrive(catalog, kafka)) == [Verdict.ALREADY, Verdict.SENT]
    assert verdicts(redrive(catalog, kafka)) == [Verdict.ALREADY] * 2
    assert len(kafka.log) == len(recorded(catalog)) == 2
    assert verdicts(redrive(catalog, kafka, again=True)) == [Verdict.SENT] * 2
    assert [headers["redrive-attempt"] for *_, headers, _ in kafka.log[2:]] == [b"2", b"2"]


def test_a_dry_run_says_the_same_and_does_nothing(catalog: Catalog, kafka: FakeKafka) -> None:
    refuse(catalog, row(1), row(2), row(None, stage="files"))
    dry = redrive(catalog, None)
    assert recorded(catalog) == []
    assert verdicts(dry) == verdicts(redrive(catalog, kafka))
    assert verdicts(dry) == [Verdict.UNFIT, Verdict.SENT, Verdict.SENT]


def test_pages_are_sent_and_recorded_one_by_one_in_the_order_of_the_log(
    catalog: Catalog, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_LETTERS", 2)
    refuse(catalog, *(row(n, payload=b"%d" % n) for n in (4, 2, 0)))
    refuse(catalog, *(row(n, payload=b"%d" % n) for n in (3, 1)))
    kafka.size = 1  # each waits for the one before
    run = redriver(catalog, kafka).run(ALL)
    next(run)
    assert [payload for _, _, payload, *_ in kafka.log] == [b"0", b"1"]
    assert len(recorded(catalog)) == 2
    assert len(list(run)) == 4
    assert [payload for _, _, payload, *_ in kafka.log] == [b"0", b"1", b"2", b"3", b"4"]


def test_what_was_delivered_before_a_failure_is_recorded(
    catalog: Catalog, kafka: FakeKafka
) -> None:
    refuse(catalog, row(1, payload=b"fine"), row(2, payload=b"huge"), row(3, payload=b"fine"))
    kafka.refuses = lambda payload: payload == b"huge"
    with pytest.raises(DeliveryError, match=r"market\.trades"):
        redrive(catalog, kafka)
    assert [one["kafka_offset"] for one in recorded(catalog)] == [1, 3]
    kafka.refuses = lambda _payload: False
    assert verdicts(redrive(catalog, kafka)) == [Verdict.ALREADY, Verdict.SENT, Verdict.ALREADY]


def test_a_broker_that_is_silent_is_an_error_and_nothing_is_recorded(
    catalog: Catalog, kafka: FakeKafka
) -> None:
    refuse(catalog, row(1))
    kafka.answers = False
    with pytest.raises(DeliveryError, match="no answer"):
        redrive(catalog, kafka)
    assert recorded(catalog) == []


def test_without_a_key_a_message_goes_to_where_it_stood(catalog: Catalog, kafka: FakeKafka) -> None:
    refuse(catalog, row(1, message_key=None, kafka_partition=2))
    redrive(catalog, kafka)
    assert [partition for *_, partition in kafka.log] == [2]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"payload": None}, "no payload"),
        ({"topic": "of.others"}, "not one of events"),
        ({"kafka_offset": None}, "never reached the log"),
        ({"topic": FRAMES, "stage": "producer", "reason": "truncated_gzip"}, "send a.gz:3 again"),
        (
            {"topic": FRAMES, "stage": "producer", "headers": {"payload_bytes": b"9"}},
            "no whole frame",
        ),
        ({"topic": FRAMES, "stage": "producer"}, "name of a venue"),
    ],
)
def test_what_cannot_be_sent_again_stays_with_a_reason(
    catalog: Catalog, kafka: FakeKafka, fields: dict[str, Any], why: str
) -> None:
    refuse(catalog, row(**{"offset": 1, "source": "a.gz:3"} | fields))
    ((decision),) = redrive(catalog, kafka)
    assert decision.verdict is Verdict.UNFIT
    assert why in str(decision.detail)
    assert (kafka.log, recorded(catalog)) == ([], [])

"""``lakehouse dlq``: what it prints, and payloads decoded as far as they go."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import Result
from dead_letter_rows import DAY, NOON, refuse, row
from pyiceberg.catalog import Catalog
from trade_log import payload, stored_payload
from typer.testing import CliRunner

from ingestion.cli import app
from ingestion.dead_letters.cli import NoSuchLetterError, NothingSelectedError
from ingestion.dead_letters.decoding import Decoded, decode
from ingestion.dead_letters.letters import DeadLetter
from lakehouse.privacy.fields import encrypt_field
from lakehouse.privacy.keys import KEY_BYTES, CustomerKey
from lakehouse.settings import Settings, get_settings
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

EVENT = payload(event_time=datetime(2024, 8, 9, tzinfo=UTC))


@pytest.fixture
def catalog(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Catalog]:
    """The same, where the verbs look for it."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()
    yield catalog
    get_settings.cache_clear()


def dlq(*words: str) -> Result:
    return CliRunner().invoke(app, ["dlq", *words])


def printed(*words: str) -> str:
    result = dlq(*words)
    assert result.exception is None, result.exception
    return result.stdout


def decoded(payload: bytes | None, topic: str = "market.trades") -> Decoded:
    letter = DeadLetter.of_row(row(1, payload=payload, topic=topic))
    return decode(letter, ContractRegistry())


def test_list_counts_by_day_topic_stage_and_reason(catalog: Catalog) -> None:
    refuse(catalog, row(1), row(2), row(3, reason="empty_payload", ingested_at=NOON + DAY))
    assert json.loads(printed("list", "--json", "--until", "2024-08-10")) == [
        {
            "day": "2024-08-09",
            "topic": "market.trades",
            "stage": "lander",
            "reason": "bad_magic_byte",
            "letters": 2,
            "redriven": 0,
        }
    ]
    assert "3 dead letters, 0 of them redriven" in printed("list")
    assert printed("list", "--json", "--stage", "batch").strip() == "[]"


def test_show_prints_one_letter_with_its_bytes_and_reason(catalog: Catalog) -> None:
    refuse(catalog, row(1, payload=b'{"price": 1}', source="a [red]file[/]:3"), row(2))
    text = printed("show", "market.trades/0/0/1")
    assert "market.trades/0/0/1" in text
    assert "begins with 0x6a instead of 0x00" in text
    assert "a [red]file[/]:3" in text
    assert '00000000  7b 22 70 72 69 63 65 22 3a 20 31 7d              {"price": 1}' in text
    assert "market.trades/0/0/2" not in text
    ((said),) = json.loads(printed("show", "--reason", "bad_magic_byte", "--json"))
    assert said["coordinates"] == "market.trades/0/0/2"
    assert (said["payload"], said["payload_bytes"]) == (b"junk".hex(), 4)
    assert said["key"] == "binance_spot:BTCUSDT"
    assert len(json.loads(printed("show", "--limit", "9", "--json"))) == 2


def test_show_prints_the_beginning_of_a_long_payload_and_no_control_characters(
    catalog: Catalog,
) -> None:
    refuse(catalog, row(1, payload=b"\x1b[31m" + b"x" * 5_000, headers={"h": b"\x1b[31m"}))
    text = printed("show", "market.trades/0/0/1")
    assert "4,493 bytes more" in text
    assert "\x1b" not in text


def test_show_of_what_is_not_there(catalog: Catalog) -> None:
    assert isinstance(dlq("show", "--topic", "none").exception, NoSuchLetterError)


def test_redrive_needs_to_be_told_what(catalog: Catalog) -> None:
    result = dlq("redrive")
    assert isinstance(result.exception, NothingSelectedError)
    assert result.exception.exit_code == 2


def test_a_dry_run_needs_no_broker_and_says_what_would_be_sent(catalog: Catalog) -> None:
    refuse(catalog, *(row(n) for n in range(30)), row(None, stage="files", source="bars.csv:3"))
    text = printed("redrive", "--all", "--dry-run")
    assert "market.trades/0/0/7" in text
    assert "would be sent" in text
    assert "and 11 more" in text
    said = json.loads(printed("redrive", "--stage", "lander", "--dry-run", "--json"))
    assert said["redrive_id"] is None
    assert len(said["letters"]) == 30
    assert said["letters"][4] == {
        "coordinates": "market.trades/0/0/4",
        "stage": "lander",
        "reason": "bad_magic_byte",
        "verdict": "sent",
        "attempt": 1,
        "detail": None,
        "topic": "market.trades",
        "key": "binance_spot:BTCUSDT",
    }


def test_an_event_is_decoded_whole() -> None:
    found = decoded(EVENT)
    assert found.problem is None
    assert found.schema_id == 1
    assert found.fields["symbol"] == "BTCUSDT"
    assert found.fields["price"] == "100.00000000"
    assert found.fields["event_time"] == "2024-08-09T00:00:00+00:00"


@pytest.mark.parametrize("end", range(5, len(EVENT)))
def test_an_event_that_is_cut_is_decoded_up_to_there(end: int) -> None:
    whole, found = decoded(EVENT), decoded(EVENT[:end])
    assert found.problem is not None
    read = list(found.fields)
    assert read == list(whole.fields)[: len(read)]
    assert all(found.fields[name] == whole.fields[name] for name in read)
    following = list(whole.fields)[len(read)]
    assert found.problem.startswith(f"field {following}, from byte ")


def test_a_value_that_is_none_is_shown_as_it_is_stored() -> None:
    found = decoded(stored_payload(price=b"\x00\x01", event_time=2**63 - 1))
    assert (found.fields["price"], found.fields["event_time"]) == ("0001", 2**63 - 1)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, {"problem": "there is no payload"}),
        (b"", {"problem": "there is no payload"}),
        (b"\x00\x00\x00\x00\x63x", {"schema_id": 99, "problem": "schema id 99 is in no contract"}),
        (EVENT + b"abc", {"schema_id": 1, "problem": "3 bytes are left after the event"}),
        (b'{"a": 1}', {"text": '{"a": 1}'}),
        (b"\x00\x00", {"text": "\x00\x00"}),
        (b"\xff\xfe", {"text": None}),
    ],
)
def test_what_is_no_event_is_told_as_far_as_it_goes(
    payload: bytes | None, expected: dict[str, Any]
) -> None:
    found = decoded(payload)
    assert found.problem
    assert {name: getattr(found, name) for name in expected} == expected


def test_personal_fields_stay_ciphertexts() -> None:
    topic = "crm.customers"
    key = CustomerKey.from_bytes(bytes(range(KEY_BYTES)))
    row = {"customer_id": "C1", "segment": "RETAIL", "country": "SE", "status": "ACTIVE"}
    row |= {"risk_class": "LOW", "name": encrypt_field(key, "name", "C1", "Zoë Ågren")}
    source = {"name": "crm", "table": "customers", "lsn": 1, "snapshot": False, "ts_us": 0}
    event = {"op": "c", "ts_us": NOON, "before": None, "after": row, "source": source}
    value = EventCodec(ContractRegistry(), 1_000_000, topics()[topic]).encode(event)
    found = decoded(value, topic)
    assert found.problem is None
    assert found.fields["after"]["customer_id"] == "C1"
    assert found.fields["after"]["name"] == row["name"].hex()
    cut = decoded(value[:-1], topic)
    assert list(cut.fields) == ["op", "ts_us", "before", "after"]


def test_a_frame_is_text() -> None:
    assert decoded(b'{"e":', topic="ingest.dead_letters") == Decoded(text='{"e":')

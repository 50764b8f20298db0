"""What leaves the CRM: a change in its envelope, with nothing personal in plain text."""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from recording_sinks import RecordingClient

import schemas
from ingestion.crm.changes import CustomerChange, Protection, UnprotectedFieldError, change_key
from ingestion.crm.simulator import DATABASE, TABLE, CrmProfile, sent_changes
from ingestion.lander.peek import layouts, peek
from ingestion.producer import EventProducer
from lakehouse.kafka import CUSTOMERS_TOPIC, DEAD_LETTERS_TOPIC
from lakehouse.privacy.fields import decrypt_field
from lakehouse.privacy.keys import UnknownCustomerError
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec

START = datetime(2024, 8, 1, tzinfo=UTC)
PERSONAL = ("name", "email", "phone", "birth_date", "address")
CODEC = EventCodec(ContractRegistry(), 1_000_000, schemas.topics()[CUSTOMERS_TOPIC])


@pytest.fixture
def keys(tmp_path: Path) -> SqliteKeyStore:
    return SqliteKeyStore(tmp_path / "keys.db")


def changes(count: int = 60) -> list[CustomerChange]:
    profile = CrmProfile(start=START, customers=3, changes=count)
    return list(islice(sent_changes(profile), count))


def plain_texts(change: CustomerChange) -> list[str]:
    rows = [row for row in (change["before"], change["after"]) if row is not None]
    return [text for row in rows for field, text in row.items() if field in PERSONAL and text]


def test_the_contract_marks_what_is_personal() -> None:
    marked = [c for c in schemas.contract("silver.customers").columns if c.pii]
    assert tuple(c.name for c in marked) == PERSONAL
    assert {c.classification for c in marked} == {"restricted"}
    assert schemas.contract("bronze.crm_customers").column("payload").pii


def test_a_change_is_written_without_plain_text_and_read_again(keys: SqliteKeyStore) -> None:
    protection = Protection(keys)
    for change in changes():
        payload = CODEC.encode(protection.protected(change))
        assert not [text for text in plain_texts(change) if text.encode() in payload]
        read = CODEC.decode(payload)
        for side in ("before", "after"):
            row = change[side]  # type: ignore[literal-required]
            if row is None:
                assert read[side] is None
                continue
            key = keys.key_to_read(row["customer_id"])
            assert key is not None
            for field in PERSONAL:
                if (stored := read[side][field]) is not None:
                    read[side][field] = decrypt_field(key, field, row["customer_id"], stored)
            assert read[side] == row
        assert (read["op"], read["source"]) == (change["op"], change["source"])


def test_a_change_sent_again_is_the_same_message(keys: SqliteKeyStore) -> None:
    protection = Protection(keys)
    for change in changes(5):
        once, again = (CODEC.encode(protection.protected(change)) for _ in range(2))
        assert once == again


def test_an_erased_customer_is_not_taken_in_again(keys: SqliteKeyStore) -> None:
    protection = Protection(keys)
    (change,) = changes(1)
    assert change["after"] is not None
    protection.protected(change)
    keys.destroy(change["after"]["customer_id"])
    after = protection.protected(change)["after"]
    assert {after[field] for field in PERSONAL} == {None}
    assert after["segment"] == change["after"]["segment"]
    assert CODEC.decode(CODEC.encode(protection.protected(change)))["after"] == after


class Spoiled(NamedTuple):
    field: str
    value: object
    problem: str


SPOILED = [
    Spoiled("email", MISSING := object(), "is missing"),
    Spoiled("email", 42, "is of type int, no text"),
    Spoiled("birth_date", START, "is of type datetime, no text"),
    Spoiled("name", "\ud800", "is no valid Unicode"),
    Spoiled("customer_id", MISSING, "is missing"),
    Spoiled("customer_id", None, "is of type NoneType, no text"),
]


def spoil(change: CustomerChange, spoiled: Spoiled) -> dict[str, Any]:
    row = dict(change["after"] or {})
    if spoiled.value is MISSING:
        del row[spoiled.field]
    else:
        row[spoiled.field] = spoiled.value
    return {**change, "after": row}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_personal_field_that_cannot_be_encrypted_is_named_and_not_shown(
    keys: SqliteKeyStore, spoiled: Spoiled
) -> None:
    change = spoil(changes(1)[0], spoiled)
    with pytest.raises(UnprotectedFieldError) as caught:
        Protection(keys).protected(change)
    assert caught.value.field == f"after.{spoiled.field}"
    assert str(caught.value) == f"after.{spoiled.field} {spoiled.problem}"
    with pytest.raises(UnknownCustomerError):
        keys.destroy(str(change["after"].get("customer_id")))  # no key was made


def test_what_is_no_row_is_named(keys: SqliteKeyStore) -> None:
    with pytest.raises(UnprotectedFieldError, match="before is of type str, no row"):
        Protection(keys).protected({**changes(1)[0], "before": "Zoë"})


def test_a_change_that_cannot_be_protected_is_an_empty_dead_letter_and_the_next_is_sent(
    keys: SqliteKeyStore,
) -> None:
    client, protection = RecordingClient(), Protection(keys)
    first, second = changes(2)
    producer = EventProducer(
        client,
        lambda change: CODEC.encode(protection.protected(change)),
        max_payload_bytes=1_000_000,
        topic=CUSTOMERS_TOPIC,
        key=change_key,
    )
    for change in (spoil(first, SPOILED[1]), spoil(first, SPOILED[4]), second):
        producer.send(change)
    told = producer.flush()
    assert (told.events, told.dead_letters) == (1, {"unprotected_field": 2})
    assert [sent.topic for sent in client.sent] == [DEAD_LETTERS_TOPIC] * 2 + [CUSTOMERS_TOPIC]
    dead = client.sent[0]
    assert (dead.value, dead.key) == (b"", None)
    assert dead.headers["detail"] == b"after.email is of type int, no text"
    lsn = first["source"]["lsn"]
    assert dead.headers["source"] == f"{DATABASE}.{TABLE} lsn {lsn}".encode()
    assert not [text for text in plain_texts(first) if text in repr(dead)]


def test_all_changes_of_a_customer_have_one_key() -> None:
    for change in changes():
        row = change["after"] or change["before"]
        assert row is not None
        assert change_key(change) == row["customer_id"].encode()


def test_the_lander_reads_when_a_change_was_captured(keys: SqliteKeyStore) -> None:
    protection, made = Protection(keys), changes()
    payloads = [CODEC.encode(protection.protected(change)) for change in made]
    found = peek(pa.array(payloads, pa.binary()), layouts(ContractRegistry(), CUSTOMERS_TOPIC))
    assert found.read.all()
    assert set(found.schema_id.tolist()) == {30}
    assert found.event_time_us.tolist() == [change["ts_us"] for change in made]

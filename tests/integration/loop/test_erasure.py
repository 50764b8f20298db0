"""An erasure on a real lake: before it the personal data can be read, after it nobody can.

The customers trade meanwhile: what they did stays, and so does what is made of it. All runs in
processes of the command line, in a home of its own; every byte of that home is searched for what
the CRM had said.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from customer_oracle import Said, in_order_pass
from embedded_lake import EmbeddedLake, embedded_lake
from schema_drafts import Draft

import schemas
from batch.publication import QUARANTINE
from ingestion.crm.changes import CustomerRow, Protection, change_key
from ingestion.crm.simulator import CrmProfile, captured_changes
from ingestion.producer import EventProducer
from lakehouse.kafka import CUSTOMERS_TOPIC, client_settings
from lakehouse.privacy.fields import ForgedFieldError, decrypt_field
from lakehouse.privacy.keys import CustomerKey
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from lakehouse.settings import Settings
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec
from serving.customers import customer_history

# One worker runs them all: to make what they look at takes a minute.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("erasure")]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CRM = CrmProfile(start=datetime(2024, 8, 1, tzinfo=UTC), customers=12, changes=150, seed=3)
OPTIONS = ("--customers", "12", "--changes", "150", "--seed", "3", "--start", "2024-08-01")
FAULTS = ("--duplicate", "0.2", "--out-of-order", "0.2")
MARKET = Path(__file__).parents[3] / "demo" / "data" / "binance_coinm_ethusd_perp.trades.gz"
FILLS = ("--customers", "20", "--fills", "300", "--busts", "0.1", "--bad", "0.1")
BOTH = ("--dataset", "customers", "--dataset", "fills")
REFUSED = "unknown_segment"
PERSONAL = tuple(c.name for c in schemas.contract("silver.customers").columns if c.pii)
# Of a key, so many bytes together are not found by chance.
TELLING_BYTES = 8


@dataclass
class Outcome:
    """What was there before the erasure, and where."""

    lake: EmbeddedLake
    customer: str
    start: datetime
    key: CustomerKey
    before: dict[str, list[dict[str, Any]]]
    shown_before: list[dict[str, Any]]
    key_was_found: bool
    written_before: set[str]
    counts: dict[str, list[dict[str, Any]]]
    erased: dict[str, Any]


def state_of(row: CustomerRow) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in row.items() if name != "customer_id")


def expected_history() -> dict[str, list[tuple[Any, ...]]]:
    """Return each customer's states in plain text, as the oracle tells them."""
    said = []
    for change in captured_changes(CRM):
        row = change["after"] or change["before"]
        assert row is not None
        source, after = change["source"], change["after"]
        made_at = EPOCH + timedelta(microseconds=source["ts_us"])
        state = None if after is None else state_of(after)
        said.append(Said(row["customer_id"], source["lsn"], source["snapshot"], made_at, state))
    told: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for customer, start, end, state, _ in in_order_pass(said):
        told[customer].append((start, end, dict(state)))
    return told


def plain_texts(customer: str | None = None) -> set[str]:
    """Return everything personal that the CRM ever said, of one customer or of all."""
    rows = [row for c in captured_changes(CRM) for row in (c["before"], c["after"]) if row]
    return {
        text
        for row in rows
        if customer in (None, row["customer_id"])
        for name, text in row.items()
        if name in PERSONAL and isinstance(text, str)
    }


def all_bytes(lake: EmbeddedLake) -> Iterator[tuple[str, bytes]]:
    """Return every byte of the home: as files, and what compressed files hold."""
    for file in lake.settings.home.rglob("*"):
        if file.is_file():
            # Kafka's indexes are megabytes of zeros; the last one may end a UTF-16 text.
            yield str(file), file.read_bytes().rstrip(b"\0") + b"\0"
    for number, record in enumerate(lake.log(CUSTOMERS_TOPIC)):
        yield f"message {number}", record.payload or b""
    for name in schemas.contracts():
        table = lake.catalog.load_table(name)
        for snapshot in table.snapshots():
            for row in table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().to_pylist():
                for column, value in row.items():
                    data = value if isinstance(value, bytes) else str(value).encode()
                    yield f"{name}.{column} in {snapshot.snapshot_id}", data


def traces(lake: EmbeddedLake, wanted: set[bytes]) -> set[str]:
    return {place for place, data in all_bytes(lake) for one in wanted if one in data}


def encodings(texts: set[str]) -> set[bytes]:
    return {text.encode(encoding) for text in texts for encoding in ("utf-8", "utf-16-le")}


def parts(key: CustomerKey) -> set[bytes]:
    secret = key.to_bytes()
    return {secret[at : at + TELLING_BYTES] for at in range(0, len(secret), TELLING_BYTES)}


def histories(lake: EmbeddedLake) -> dict[str, list[dict[str, Any]]]:
    keys = SqliteKeyStore.of(lake.settings)
    return {
        customer: customer_history(lake.catalog, keys, customer) for customer in expected_history()
    }


def counts(lake: EmbeddedLake) -> dict[str, list[dict[str, Any]]]:
    business = "segment, country, status, risk_class, is_current"
    return {
        "bronze": lake.rows("SELECT count(*) AS events FROM bronze.crm_customers"),
        "silver": lake.rows(
            f"SELECT {business}, count(*) AS states, min(valid_from) AS first"
            " FROM silver.customers GROUP BY ALL ORDER BY ALL"
        ),
    } | {
        table: lake.rows(f"SELECT * FROM {table} ORDER BY ALL")
        for table in ("silver.fills", "gold.positions", "gold.customer_activity_daily")
    }


def refused_change(lake: EmbeddedLake, customer: str) -> None:
    """Let the CRM say something of a customer that batch refuses, personal data and all."""
    keys, limit = SqliteKeyStore.of(lake.settings), lake.settings.max_payload_bytes
    codec = EventCodec(ContractRegistry(), limit, schemas.topics()[CUSTOMERS_TOPIC])
    (*_, said) = (
        c for c in captured_changes(CRM) if (c["after"] or {}).get("customer_id") == customer
    )
    wrong = {**said, "after": {**(said["after"] or {}), "segment": "WHALE"}}
    with EventProducer.connect(
        client_settings(lake.settings),
        lambda change: codec.encode(Protection(keys).protected(change)),
        max_payload_bytes=limit,
        topic=CUSTOMERS_TOPIC,
        key=change_key,
    ) as producer:
        producer.send(wrong)


def refusals(lake: EmbeddedLake) -> list[bytes]:
    letters = lake.rows(f"SELECT payload FROM bronze.dead_letters WHERE reason = '{REFUSED}'")
    return [letter["payload"] for letter in letters]


def interval(lake: EmbeddedLake, start: datetime) -> tuple[str, ...]:
    return "--start", start.isoformat(), "--end", lake.ingested_through().isoformat()


def show(lake: EmbeddedLake, customer: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(lake.run("customers", "show", customer, "--json"))
    return shown


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Simulate, land, run batch, look at everything, then erase one customer."""
    settings = Settings(home=tmp_path_factory.mktemp("erasure"), spark_driver_memory="1g")
    told = expected_history()
    # Whoever has had most happen to them, and is a customer still.
    customer = max((c for c in told if told[c][-1][1] is None), key=lambda c: len(told[c]))
    with embedded_lake(settings) as lake:
        started = datetime.now(UTC) - timedelta(hours=1)
        lake.run("crm", "simulate", *OPTIONS, *FAULTS)
        refused_change(lake, customer)
        lake.run("oms", "simulate", str(MARKET), *FILLS)
        lake.run("land", "--once")
        lake.run("batch", *interval(lake, started), *BOTH)
        key = SqliteKeyStore.of(settings).key_to_read(customer)
        assert key is not None
        before = Outcome(
            lake,
            customer,
            started,
            key,
            before=histories(lake),
            shown_before=show(lake, customer),
            key_was_found=bool(traces(lake, parts(key))),
            written_before=traces(lake, encodings(plain_texts())),
            counts=counts(lake),
            erased={},
        )
        before.erased = json.loads(lake.run("erase", "--customer", customer, "--json"))
        yield before


def test_who_holds_the_keys_reads_the_history_that_the_crm_had(outcome: Outcome) -> None:
    for customer, states in expected_history().items():
        read = outcome.before[customer]
        assert [(s["valid_from"], s["valid_to"]) for s in read] == [s[:2] for s in states]
        for state, (_, _, stated) in zip(read, states, strict=True):
            assert {name: state[name] for name in stated} == stated
    names = {state["name"] for state in outcome.shown_before}
    assert names & plain_texts(outcome.customer)


def test_nothing_personal_is_anywhere_in_plain_text(outcome: Outcome) -> None:
    """Neither of the erased customer nor of any other, before and after: it was never written."""
    assert len(plain_texts()) > 50
    assert outcome.written_before == set()
    assert traces(outcome.lake, encodings(plain_texts())) == set()


def test_the_search_finds_what_is_not_encrypted(outcome: Outcome) -> None:
    found = traces(outcome.lake, {outcome.customer.encode()})
    for place in ("message", "bronze.crm_customers.payload", "silver.customers.customer_id"):
        assert any(one.startswith(place) for one in found)


def test_no_byte_of_the_key_is_left(outcome: Outcome) -> None:
    assert outcome.key_was_found, "the search finds a key that is there"
    assert traces(outcome.lake, parts(outcome.key)) == set()


def test_no_key_that_is_left_reads_a_field_of_the_erased(outcome: Outcome) -> None:
    with closing(sqlite3.connect(outcome.lake.settings.key_store_file)) as database:
        secrets = [s for (s,) in database.execute("SELECT secret FROM keys") if s is not None]
    assert secrets, "the other customers have theirs"
    codec = EventCodec(ContractRegistry(), 1_000_000, schemas.topics()[CUSTOMERS_TOPIC])
    rows = [
        row
        for record in outcome.lake.log(CUSTOMERS_TOPIC)
        for change in [codec.decode(record.payload)]
        for row in (change["before"], change["after"])
        if row and row["customer_id"] == outcome.customer
    ]
    ciphertexts = {(name, row[name]) for row in rows for name in PERSONAL if row[name] is not None}
    assert ciphertexts
    for name, ciphertext in ciphertexts:
        assert decrypt_field(outcome.key, name, outcome.customer, ciphertext)
        for secret in secrets:
            with pytest.raises(ForgedFieldError):
                decrypt_field(CustomerKey.from_bytes(secret), name, outcome.customer, ciphertext)


def test_the_erased_are_read_as_null_and_the_others_as_before(outcome: Outcome) -> None:
    now = histories(outcome.lake)
    for customer, states in outcome.before.items():
        if customer == outcome.customer:
            hidden = dict.fromkeys(PERSONAL)
            assert now[customer] == [state | hidden for state in states]
        else:
            assert now[customer] == states
    shown = show(outcome.lake, outcome.customer)
    assert shown == [state | dict.fromkeys(PERSONAL) for state in outcome.shown_before]


def test_history_and_counts_stay(outcome: Outcome) -> None:
    for table in ("gold.positions", "gold.customer_activity_daily"):
        assert outcome.customer in {row["customer_id"] for row in outcome.counts[table]}
    assert counts(outcome.lake) == outcome.counts


def test_the_erasure_is_on_record(outcome: Outcome) -> None:
    (record,) = outcome.lake.rows("SELECT * FROM ops.erasures")
    assert record["customer_id"] == outcome.customer == outcome.erased["customer_id"]
    assert set(record) == {"customer_id", "erased_at", "recorded_at"}


def test_what_the_crm_says_of_the_erased_again_is_not_taken_in(outcome: Outcome) -> None:
    """Runs last: it adds to the log."""
    codec = EventCodec(ContractRegistry(), 1_000_000, schemas.topics()[CUSTOMERS_TOPIC])
    first = {(r.partition, r.offset) for r in outcome.lake.log(CUSTOMERS_TOPIC)}
    outcome.lake.run("crm", "simulate", *OPTIONS)
    again = [r for r in outcome.lake.log(CUSTOMERS_TOPIC) if (r.partition, r.offset) not in first]
    said: dict[str, set[Any]] = defaultdict(set)
    for record in again:
        change = codec.decode(record.payload)
        for row in filter(None, (change["before"], change["after"])):
            said[row["customer_id"]] |= {row[name] for name in PERSONAL}
    assert said.pop(outcome.customer) == {None}
    assert all(len(values) > 1 for values in said.values())
    assert traces(outcome.lake, encodings(plain_texts())) == set()


@pytest.mark.timeout(600)  # everything is made anew: minutes, beside other work
def test_what_is_made_anew_after_it_does_not_bring_anything_back(
    outcome: Outcome, draft: Draft
) -> None:
    """Runs after all others: dead letters are redriven, rows kept aside, intervals run again."""
    lake = outcome.lake
    (payload,) = refusals(lake)
    lake.run("dlq", "redrive", "--reason", REFUSED)
    lake.run("land", "--once")
    again = interval(lake, outcome.start)

    with draft.table("silver.customers") as stated:
        stated["quality"].append(
            {
                "name": "nobody_is_known",
                "description": "There are no customers.",
                "type": "sql",
                "dimension": "validity",
                "query": "SELECT count(*) FROM ${object}",
                "mustBe": 0,
                "severity": "quarantine",
            }
        )
    strict = replace(
        lake, settings=lake.settings.model_copy(update={"schemas_folder": draft.folder})
    )
    with pytest.raises(AssertionError, match=r"silver\.customers: nobody_is_known must"):
        strict.run("batch", *again, "--dataset", "customers")
    refs = lake.catalog.load_table("silver.customers").refs()
    assert any(name.startswith(QUARANTINE) for name in refs)
    assert refusals(lake) == [payload, payload], "a redriven event is refused by itself"

    lake.run("backfill", *again, *BOTH, "--step-hours", "24")
    now = counts(lake)
    assert {name: now[name] for name in now if name != "bronze"} == {
        name: rows for name, rows in outcome.counts.items() if name != "bronze"
    }
    assert histories(lake)[outcome.customer] == [
        state | dict.fromkeys(PERSONAL) for state in outcome.before[outcome.customer]
    ]
    wanted = encodings(plain_texts()) | parts(outcome.key)
    assert traces(lake, wanted) == set()


def test_the_key_store_is_the_owners_alone(outcome: Outcome) -> None:
    file: Path = outcome.lake.settings.key_store_file
    assert file.is_relative_to(outcome.lake.settings.home)
    assert file.stat().st_mode & 0o777 == 0o600

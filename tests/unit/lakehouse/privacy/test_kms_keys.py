"""The key store on a KMS, as ``mock_kms`` plays it: erasing, remembering, races."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mock_kms import REGION, Clock, MockKms

from lakehouse.catalog import load_catalog
from lakehouse.privacy.erasure import ERASURES, erase
from lakehouse.privacy.keys import CustomerKey, KeyStoreError
from lakehouse.privacy.kms import Kms, KmsKeyUnusableError
from lakehouse.privacy.kms_keys import REMEMBERED_KEYS, REMEMBERED_SECONDS, KmsKeyStore
from lakehouse.privacy.wrapped_keys import WrappedKeys
from lakehouse.settings import Settings
from schemas import contract, tables


def key(store: KmsKeyStore, customer_id: str = "C1") -> CustomerKey:
    made = store.key_to_write(customer_id)
    assert made is not None
    return made


def rows(settings: Settings) -> list[tuple[str, str, bytes | None, int | None]]:
    with closing(sqlite3.connect(settings.home / "catalog.db")) as database:
        return database.execute("SELECT * FROM wrapped_keys ORDER BY customer_id").fetchall()


def test_each_customer_has_a_kms_key_and_the_table_only_what_it_wraps(
    store: KmsKeyStore, kms: MockKms, kms_settings: Settings
) -> None:
    secrets = [key(store, customer).to_bytes() for customer in ("C1", "C2")]
    (first, second) = rows(kms_settings)
    assert (first[0], second[0]) == ("C1", "C2")
    described = kms.client().describe_key(KeyId=first[1])["KeyMetadata"]
    assert described["Arn"] == first[1] != second[1]
    assert described["Description"] == "Personal data of customer C1"
    (tag,) = kms.client().list_resource_tags(KeyId=first[1])["Tags"]
    assert tag == {"TagKey": "lakehouse", "TagValue": "customer-key"}
    kept = (kms_settings.home / "catalog.db").read_bytes()
    assert first[2] in kept, "the search finds what is there"
    for secret in secrets:
        for at in range(0, len(secret), 8):
            assert secret[at : at + 8] not in kept


def test_a_wrapped_key_is_bound_to_its_customer(
    store: KmsKeyStore, opened: Callable[[], KmsKeyStore], kms_settings: Settings
) -> None:
    key(store, "C1")
    key(store, "C2")
    with closing(sqlite3.connect(kms_settings.home / "catalog.db")) as database, database:
        database.execute(
            "UPDATE wrapped_keys SET (kms_key, wrapped) ="
            " (SELECT kms_key, wrapped FROM wrapped_keys WHERE customer_id = 'C1')"
            " WHERE customer_id = 'C2'"
        )
    with pytest.raises(KeyStoreError, match="InvalidCiphertextException"):
        opened().key_to_read("C2")


def test_erasing_ends_the_kms_key_and_the_wrapped_one(
    store: KmsKeyStore, kms: MockKms, kms_settings: Settings
) -> None:
    key(store)
    (_, kms_key, wrapped, _) = rows(kms_settings)[0]
    before = datetime.now(UTC)
    destroyed = store.destroy("C1")
    assert before <= destroyed.erased_at <= datetime.now(UTC)
    assert rows(kms_settings)[0][1:3] == (kms_key, None)
    described = kms.client().describe_key(KeyId=kms_key)["KeyMetadata"]
    assert described["KeyState"] == "PendingDeletion"
    assert 6 <= (described["DeletionDate"] - before).days <= 7
    with pytest.raises(KmsKeyUnusableError, match="pending deletion"):
        Kms.of(kms_settings).unwrap(kms_key, "C1", wrapped or b"")


def test_the_days_until_deletion_are_a_setting(kms: MockKms, kms_settings: Settings) -> None:
    patient = KmsKeyStore.of(kms_settings.model_copy(update={"kms_deletion_days": 30}))
    key(patient)
    patient.destroy("C1")
    (kept,) = kms.client().list_keys()["Keys"]
    deleted = kms.client().describe_key(KeyId=kept["KeyId"])["KeyMetadata"]["DeletionDate"]
    assert 29 <= (deleted - datetime.now(UTC)).days <= 30


def test_an_erasure_that_failed_halfway_holds_and_is_ended_by_another(
    store: KmsKeyStore,
    opened: Callable[[], KmsKeyStore],
    monkeypatch: pytest.MonkeyPatch,
    kms_settings: Settings,
) -> None:
    key(store)

    def unreachable(*_: object) -> None:
        raise KeyStoreError("no database")

    with monkeypatch.context() as patch:
        patch.setattr(WrappedKeys, "erase", unreachable)
        with pytest.raises(KeyStoreError, match="no database"):
            store.destroy("C1")
    assert opened().key_to_read("C1") is None, "the KMS key goes first"
    assert opened().key_to_write("C1") is None
    assert rows(kms_settings)[0][2] is not None
    store.destroy("C1")
    assert rows(kms_settings)[0][2] is None


@pytest.mark.usefixtures("impatient")
def test_an_erasure_whose_kms_key_is_deleted_by_now_can_be_ended(
    store: KmsKeyStore, opened: Callable[[], KmsKeyStore], kms: MockKms
) -> None:
    key(store)
    kms.forget()
    with pytest.raises(KeyStoreError, match="decrypt"):
        opened().key_to_read("C1")  # an account without the key is no proof of an erasure
    store.destroy("C1")
    assert opened().key_to_read("C1") is None


def test_a_disabled_key_is_not_used(
    store: KmsKeyStore,
    opened: Callable[[], KmsKeyStore],
    kms: MockKms,
    kms_settings: Settings,
) -> None:
    made = key(store)
    kms_id = rows(kms_settings)[0][1]
    kms.client().disable_key(KeyId=kms_id)
    assert opened().key_to_read("C1") is None
    assert opened().key_to_write("C1") is None
    kms.client().enable_key(KeyId=kms_id.rpartition("/")[2])
    assert opened().key_to_read("C1") == made


def test_the_kms_is_asked_once_a_minute(store: KmsKeyStore, kms: MockKms, clock: Clock) -> None:
    key(store)
    asked = kms.calls["decrypt"]
    clock.now += REMEMBERED_SECONDS - 1
    for _ in range(100):
        store.key_to_write("C1")
        store.key_to_read("C1")
    assert kms.calls["decrypt"] == asked
    clock.now += 1  # using a key does not keep it
    store.key_to_read("C1")
    assert kms.calls["decrypt"] == asked + 1


def test_another_process_lets_go_of_an_erased_key_within_a_minute(
    store: KmsKeyStore, opened: Callable[[], KmsKeyStore], clock: Clock
) -> None:
    other = opened()
    known = key(other)
    store.destroy("C1")
    assert store.key_to_read("C1") is None
    clock.now += REMEMBERED_SECONDS - 1
    assert other.key_to_read("C1") == known
    clock.now += 1
    assert other.key_to_read("C1") is None
    assert other.key_to_write("C1") is None


def test_no_more_keys_are_remembered_than_so_many(
    kms: MockKms, opened: Callable[[], KmsKeyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REMEMBERED_KEYS == 10_000, "as the documents say"
    monkeypatch.setattr("lakehouse.privacy.kms_keys.REMEMBERED_KEYS", 2)
    small = opened()
    for customer in ("C1", "C2", "C3"):
        key(small, customer)
    asked = kms.calls["decrypt"]
    small.key_to_read("C3")
    small.key_to_read("C2")
    assert kms.calls["decrypt"] == asked
    small.key_to_read("C1")
    assert kms.calls["decrypt"] == asked + 1


def test_who_is_overtaken_takes_the_others_key_and_deletes_its_own(
    store: KmsKeyStore,
    opened: Callable[[], KmsKeyStore],
    kms: MockKms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep, first = WrappedKeys.keep, []

    def overtaken(*given: object) -> object:
        monkeypatch.setattr(WrappedKeys, "keep", keep)
        first.append(key(opened()))
        return keep(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(WrappedKeys, "keep", overtaken)
    assert [key(store)] == first
    assert kms.key_states() == ["Enabled", "PendingDeletion"]


def test_an_erasure_is_recorded_in_the_lake_whose_catalog_has_the_wrapped_keys(
    store: KmsKeyStore, kms_settings: Settings
) -> None:
    catalog = load_catalog(kms_settings)
    tables.apply(catalog, [contract(ERASURES)])
    key(store)
    erasure = erase(store, catalog, "C1")
    assert erase(store, catalog, "C1") == erasure
    (record,) = catalog.load_table(ERASURES).scan().to_arrow().to_pylist()
    assert record["erased_at"] == store.destroy("C1").erased_at


def test_settings_name_one_store_and_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kms_region\n.*LAKEHOUSE_KEY_STORE is set too"):
        Settings(key_store=tmp_path / "keys.db", kms_region=REGION)
    with pytest.raises(ValueError, match=r"kms_endpoint\n.*LAKEHOUSE_KMS_REGION is not set"):
        Settings(kms_endpoint="https://kms.example.com")
    with pytest.raises(ValueError, match="kms_region"):
        Settings(kms_region="eu-central")
    for plain in ("http://kms.example.com", "http://localhost.example.com", "kms.example.com"):
        with pytest.raises(ValueError, match="kms_endpoint"):
            Settings(kms_region=REGION, kms_endpoint=plain)
    with pytest.raises(ValueError, match="kms_deletion_days"):
        Settings(kms_region=REGION, kms_deletion_days=3)
    Settings(kms_region="us-gov-west-1", kms_endpoint="https://vpce-1.kms.example.com")

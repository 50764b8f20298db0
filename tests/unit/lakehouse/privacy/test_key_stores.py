"""What any key store promises: the same tests on the file and on a KMS (see ``mock_kms``)."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakehouse.privacy.fields import ForgedFieldError, decrypt_field, encrypt_field
from lakehouse.privacy.keys import CustomerKey, KeyStore, UnknownCustomerError
from lakehouse.privacy.kms_keys import KmsKeyStore
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from lakehouse.privacy.stores import key_store
from lakehouse.settings import Settings

# A process that says when it is ready, waits for a word, and prints the key it was given.
WRITER = """
import sys
from lakehouse.privacy.stores import key_store
from lakehouse.settings import Settings
store = key_store(Settings())
print("ready", flush=True)
sys.stdin.readline()
print(store.key_to_write("C1").to_bytes().hex())
"""
STORES = {"settings": SqliteKeyStore, "kms_settings": KmsKeyStore}


@pytest.fixture(params=STORES)
def named(request: pytest.FixtureRequest) -> Settings:
    """Settings that name a store, of each kind in turn."""
    settings: Settings = request.getfixturevalue(request.param)
    assert isinstance(key_store(settings), STORES[request.param])
    return settings


@pytest.fixture
def store(named: Settings) -> KeyStore:
    return key_store(named)


def made(store: KeyStore, customer_id: str) -> CustomerKey:
    key = store.key_to_write(customer_id)
    assert key is not None
    return key


def test_a_key_is_made_once_and_kept(named: Settings, store: KeyStore) -> None:
    key = made(store, "C1")
    assert store.key_to_write("C1") == key
    assert key_store(named).key_to_read("C1") == key
    assert key_store(named).key_to_write("C1") == key
    assert made(store, "C2") != key


def test_what_one_process_encrypts_another_reads(named: Settings, store: KeyStore) -> None:
    ciphertext = encrypt_field(made(store, "C1"), "name", "C1", "Hedda Birkemo")
    key = key_store(named).key_to_read("C1")
    assert key is not None
    assert decrypt_field(key, "name", "C1", ciphertext) == "Hedda Birkemo"
    with pytest.raises(ForgedFieldError):
        decrypt_field(made(store, "C2"), "name", "C1", ciphertext)


def test_reading_makes_no_key(store: KeyStore) -> None:
    assert store.key_to_read("C1") is None
    made(store, "C2")
    assert store.key_to_read("C1") is None
    with pytest.raises(UnknownCustomerError):
        store.destroy("C1")


def test_an_erased_customer_never_has_a_key_again(named: Settings, store: KeyStore) -> None:
    key = made(store, "C2")
    made(store, "C1")
    store.destroy("C1")
    for reader in (store, key_store(named)):
        assert reader.key_to_write("C1") is None
        assert reader.key_to_read("C1") is None
        assert reader.key_to_read("C2") == key


def test_destroying_again_tells_when_it_was(named: Settings, store: KeyStore) -> None:
    made(store, "C1")
    destroyed = store.destroy("C1")
    assert destroyed.customer_id == "C1"
    assert store.destroy("C1") == destroyed
    assert key_store(named).destroy("C1") == destroyed


def test_an_unknown_customer_is_not_erased_silently(store: KeyStore) -> None:
    with pytest.raises(UnknownCustomerError, match="'C1'"):
        store.destroy("C1")
    made(store, "C2")
    with pytest.raises(UnknownCustomerError, match="'C1'"):
        store.destroy("C1")


@pytest.mark.parametrize("customer_id", ["C'2", "Ω 7/ä~%", '"; DROP TABLE wrapped_keys; --'])
def test_an_id_may_have_any_letters(store: KeyStore, customer_id: str) -> None:
    assert made(store, customer_id) == store.key_to_read(customer_id)
    store.destroy(customer_id)
    assert store.key_to_read(customer_id) is None


def test_threads_that_write_at_the_same_time_agree_on_one_key(named: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: made(key_store(named), "C1"), range(16)))
    assert len(set(keys)) == 1


def test_processes_that_write_at_the_same_time_agree_on_one_key(named: Settings) -> None:
    given = {"home", "kms_region", "kms_endpoint"}
    chosen = named.model_dump(include=given, exclude_none=True)
    environ = os.environ | {f"LAKEHOUSE_{name.upper()}": str(v) for name, v in chosen.items()}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    # The last line: what is tried again is said before it.
    keys = {writer.communicate(timeout=120)[0].splitlines()[-1] for writer in writers}
    assert keys == {made(key_store(named), "C1").to_bytes().hex()}

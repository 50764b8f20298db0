"""Keys that a KMS wraps (``mock_kms``: none runs here) are shared by the stack's database."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mock_kms import CREDENTIALS, REGION, MockKms, running_kms
from sqlalchemy import create_engine, inspect

from lakehouse.catalog_database import database_address
from lakehouse.privacy.stores import key_store
from lakehouse.settings import Role, Settings

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

# Whoever encrypts, reads and erases; each finds the table on its own.
WRITERS, READER, ERASER = 6, "serving", "operator"


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockKms]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_kms() as running:
        yield running


@pytest.fixture
def with_kms(
    stack_settings: Callable[[Role], Settings], kms: MockKms
) -> Callable[[Role], Settings]:
    chosen = {"kms_region": REGION, "kms_endpoint": kms.address}
    return lambda role: stack_settings(role).model_copy(update=chosen)


def test_roles_share_one_key_until_one_of_them_erases_it(
    with_kms: Callable[[Role], Settings], kms: MockKms
) -> None:
    customer = f"C-{os.urandom(4).hex()}"
    with ThreadPoolExecutor(WRITERS) as pool:
        stores = [key_store(with_kms("ingest")) for _ in range(WRITERS)]
        keys = set(pool.map(lambda store: store.key_to_write(customer), stores))
    assert keys == {key_store(with_kms(READER)).key_to_read(customer)} != {None}
    assert kms.key_states().count("Enabled") == 1, "no key of one that came too late is left"
    database = create_engine(database_address(with_kms(ERASER)))
    assert (database.name, inspect(database).has_table("wrapped_keys")) == ("postgresql", True)
    destroyed = key_store(with_kms(ERASER)).destroy(customer)
    assert key_store(with_kms("ingest")).key_to_write(customer) is None
    assert key_store(with_kms(READER)).key_to_read(customer) is None
    assert key_store(with_kms("ingest")).destroy(customer) == destroyed

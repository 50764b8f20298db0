"""A KMS for the tests of what keeps keys."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mock_kms import CREDENTIALS, REGION, Clock, MockKms, running_kms

from lakehouse.privacy import kms as kms_module
from lakehouse.privacy import wrapped_keys
from lakehouse.privacy.kms import Kms
from lakehouse.privacy.kms_keys import KmsKeyStore
from lakehouse.privacy.wrapped_keys import WrappedKeys
from lakehouse.settings import Settings


@pytest.fixture(scope="session")
def kms_server() -> Iterator[MockKms]:
    with running_kms() as kms:
        yield kms


@pytest.fixture
def kms(kms_server: MockKms, monkeypatch: pytest.MonkeyPatch) -> MockKms:
    """A KMS without keys, and the credentials for it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    kms_server.forget()
    return kms_server


@pytest.fixture
def kms_settings(kms: MockKms, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", kms_region=REGION, kms_endpoint=kms.address)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(kms_settings: Settings, clock: Clock) -> Callable[[], KmsKeyStore]:
    """Open the store as a further process does."""
    return lambda: KmsKeyStore(Kms.of(kms_settings), WrappedKeys.of(kms_settings), clock)


@pytest.fixture
def store(opened: Callable[[], KmsKeyStore]) -> KmsKeyStore:
    return opened()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon what fails."""
    monkeypatch.setattr(kms_module, "BUDGET_SECONDS", 0.5)
    monkeypatch.setattr(wrapped_keys, "BUDGET_SECONDS", 0.5)

"""A KMS (``mock_kms``) that is unwell, silent, gone, refuses, or is not the one meant."""

import base64
import logging

import pytest
from mock_kms import REGION, MockKms, UnwellError, silent_server
from moto.core.exceptions import JsonRESTError
from pydantic import SecretStr

from lakehouse.privacy import kms as kms_module
from lakehouse.privacy.keys import CustomerKey, KeyStoreError
from lakehouse.privacy.kms_keys import KmsKeyStore
from lakehouse.settings import Settings


def key(store: KmsKeyStore, customer_id: str = "C1") -> CustomerKey:
    made = store.key_to_write(customer_id)
    assert made is not None
    return made


def test_a_kms_key_that_gives_no_data_key_is_not_left(store: KmsKeyStore, kms: MockKms) -> None:
    kms.failures = [None, JsonRESTError("AccessDeniedException", "no data keys for you")]
    with pytest.raises(KeyStoreError, match="no data keys for you"):
        store.key_to_write("C1")
    assert kms.key_states() == ["PendingDeletion"]
    assert store.key_to_read("C1") is None


@pytest.mark.parametrize(
    "failure", [UnwellError(), JsonRESTError("ThrottlingException", "Rate exceeded")]
)
def test_what_may_pass_is_tried_again(
    store: KmsKeyStore, kms: MockKms, failure: JsonRESTError
) -> None:
    kms.failures = [failure, failure]
    assert key(store) == store.key_to_read("C1")
    assert kms.calls["create_key"] == 3


def test_a_key_that_not_all_of_the_kms_knows_yet_is_asked_for_again(
    store: KmsKeyStore, kms: MockKms
) -> None:
    kms.failures = [None, JsonRESTError("NotFoundException", "no such key"), None]
    kms.failures += [JsonRESTError("NotFoundException", "no such key")]
    assert key(store) == store.key_to_read("C1")
    assert kms.key_states() == ["Enabled"]


def test_a_refusal_is_told_at_once(store: KmsKeyStore, kms: MockKms) -> None:
    kms.failures = [JsonRESTError("AccessDeniedException", "not authorized to perform this")]
    with pytest.raises(KeyStoreError, match=rf"{kms.address}, create_key: .*not authorized"):
        store.key_to_write("C1")
    assert kms.calls["create_key"] == 1


@pytest.mark.usefixtures("impatient")
def test_a_kms_that_says_nothing_is_named(
    store: KmsKeyStore, kms_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key(store)
    with silent_server() as silent, monkeypatch.context() as patch:
        patch.setattr(kms_module, "READ_SECONDS", 0.2)
        deaf = KmsKeyStore.of(kms_settings.model_copy(update={"kms_endpoint": silent}))
        for asked in (deaf.key_to_read, deaf.key_to_write, deaf.destroy):
            with pytest.raises(KeyStoreError, match=f"KMS at {silent}, .*[Rr]ead timeout"):
                asked("C1")
    assert KmsKeyStore.of(kms_settings).key_to_read("C1") == key(store), "nothing was erased"


@pytest.mark.usefixtures("impatient")
def test_a_kms_that_is_not_there_is_named(kms_settings: Settings) -> None:
    with silent_server() as gone:
        pass
    store = KmsKeyStore.of(kms_settings.model_copy(update={"kms_endpoint": gone}))
    with pytest.raises(KeyStoreError, match=f"KMS at {gone}, create_key: "):
        store.key_to_write("C1")


def test_a_kms_of_another_region_is_not_believed(
    store: KmsKeyStore, kms_settings: Settings
) -> None:
    made = key(store)
    elsewhere = KmsKeyStore.of(kms_settings.model_copy(update={"kms_region": "us-east-1"}))
    for asked in (elsewhere.key_to_read, elsewhere.key_to_write, elsewhere.destroy):
        with pytest.raises(KeyStoreError, match=f"is in {REGION}, and LAKEHOUSE_KMS_REGION"):
            asked("C1")
    assert KmsKeyStore.of(kms_settings).key_to_read("C1") == made


def test_missing_credentials_are_told(
    kms_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(KeyStoreError, match="Unable to locate credentials"):
        KmsKeyStore.of(kms_settings).key_to_write("C1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(KeyStoreError, match="nobody"):
        KmsKeyStore.of(kms_settings)


@pytest.mark.usefixtures("impatient")
def test_a_database_that_does_not_answer_is_named_without_its_password(
    kms_settings: Settings, kms: MockKms
) -> None:
    with silent_server() as gone:
        address = gone.removeprefix("http://")
    away = {"catalog_uri": f"postgresql+psycopg2://iceberg@{address}/iceberg"}
    secretly = kms_settings.model_copy(update=away | {"catalog_password": SecretStr("hunter2")})
    store = KmsKeyStore.of(secretly)
    with pytest.raises(KeyStoreError, match=f"wrapped keys in postgresql.*@{address}") as refused:
        store.key_to_write("C1")
    assert "hunter2" not in str(refused.value)
    assert not kms.calls, "no KMS key is made that nobody could keep"


def test_no_key_is_logged(
    store: KmsKeyStore, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        secret = key(store).to_bytes()
        store.destroy("C1")
    told = caplog.text + "".join(capfd.readouterr())
    assert "POST" in told, "the library's own words are among them"
    for spelt in (base64.b64encode(secret).decode(), secret.hex(), repr(secret)):
        assert spelt not in told

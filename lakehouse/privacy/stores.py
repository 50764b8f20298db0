"""Which key store a lake has."""

from lakehouse.privacy.keys import KeyStore
from lakehouse.privacy.kms_keys import KmsKeyStore
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from lakehouse.settings import Settings


def key_store(settings: Settings) -> KeyStore:
    """Return the key store that the settings name: a KMS if they do, or else a file."""
    return KmsKeyStore.of(settings) if settings.kms_region else SqliteKeyStore.of(settings)

"""The key store of production: each customer has a KMS key, and a key that it wraps.

Erasing destroys the KMS key, so that every copy of the wrapped key, in backups too, is noise. A
process remembers what the KMS has unwrapped for it: a call for every event could not be paid for.
So after an erasure another process may use the key for as long as ``REMEMBERED_SECONDS``.
"""

import time
from collections.abc import Callable
from threading import Lock
from typing import Self

import structlog
from cachetools import TTLCache

from lakehouse.privacy.keys import CustomerKey, Destroyed, KeyStoreError, UnknownCustomerError
from lakehouse.privacy.kms import Kms, KmsKeyUnusableError
from lakehouse.privacy.wrapped_keys import WrappedKey, WrappedKeys
from lakehouse.settings import Settings

# An erasure may take as long in other processes; a busy customer costs a call a minute in each.
REMEMBERED_SECONDS = 60.0
# Some 5 MB; of more customers than that, the least recently used are asked for again.
REMEMBERED_KEYS = 10_000

_log = structlog.get_logger(__name__)


class KmsKeyStore:
    """Keeps keys by means of a KMS; safe to be used by several processes and threads at once."""

    def __init__(
        self, kms: Kms, wrapped_keys: WrappedKeys, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """Use a KMS, the table of what it has wrapped, and a clock in seconds."""
        self._kms = kms
        self._wrapped_keys = wrapped_keys
        self._remembered: TTLCache[str, CustomerKey] = TTLCache(
            REMEMBERED_KEYS, REMEMBERED_SECONDS, timer
        )
        self._lock = Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the store that the settings name."""
        return cls(Kms.of(settings), WrappedKeys.of(settings))

    def key_to_read(self, customer_id: str) -> CustomerKey | None:
        """Return a customer's key; None if there is none, or none any more.

        Raises:
            KeyStoreError: The KMS or the table does not answer, or refuses.
        """
        known = self._recall(customer_id)
        if known is not None:
            return known
        found = self._wrapped_keys.find(customer_id)
        return None if found is None else self._unwrapped(customer_id, found)

    def key_to_write(self, customer_id: str) -> CustomerKey | None:
        """Return a customer's key, made and safely stored if need be; None after an erasure.

        Raises:
            KeyStoreError: The KMS or the table does not answer, or refuses.
        """
        known = self._recall(customer_id)
        if known is not None:
            return known
        found = self._wrapped_keys.find(customer_id) or self._make(customer_id)
        # A new key too: nothing is encrypted with what could not be had back.
        return self._unwrapped(customer_id, found)

    def destroy(self, customer_id: str) -> Destroyed:
        """Destroy a customer's KMS key, and remove the wrapped one.

        The KMS key goes first: should removing fail, the erasure holds, and another one removes.

        Raises:
            UnknownCustomerError: There never was a key of this customer.
            KeyStoreError: The KMS or the table does not answer; try again, until it succeeds once.
        """
        found = self._wrapped_keys.find(customer_id)
        if found is None:
            raise UnknownCustomerError(
                f"the table of wrapped keys has nothing of customer {customer_id!r}: nothing to "
                "erase or to read. Check the id, and that LAKEHOUSE_HOME or LAKEHOUSE_CATALOG_URI "
                "names the right lake"
            )
        erased_at = found.erased_at
        if erased_at is None:
            self._kms.destroy_key(found.kms_key)
            erased_at = self._wrapped_keys.erase(customer_id)
        with self._lock:
            self._remembered.pop(customer_id, None)
        return Destroyed(customer_id, erased_at)

    def _recall(self, customer_id: str) -> CustomerKey | None:
        with self._lock:
            return self._remembered.get(customer_id)

    def _unwrapped(self, customer_id: str, found: WrappedKey) -> CustomerKey | None:
        if found.wrapped is None:
            return None
        try:
            secret = self._kms.unwrap(found.kms_key, customer_id, found.wrapped)
        except KmsKeyUnusableError as error:
            # An erasure that has come halfway, or whose record a restored backup does not have.
            _log.warning("KMS key unusable, no erasure recorded", error=str(error))
            return None
        key = CustomerKey.from_bytes(secret)
        with self._lock:
            self._remembered[customer_id] = key
        return key

    def _make(self, customer_id: str) -> WrappedKey:
        kms_key = self._kms.make_key(customer_id)
        try:
            wrapped = self._kms.make_data_key(kms_key, customer_id)
        except KeyStoreError:
            self._discard(kms_key)
            raise
        # Should this fail, nobody knows whether the row is there: the KMS key stays.
        kept = self._wrapped_keys.keep(customer_id, kms_key, wrapped)
        if kept.kms_key != kms_key:
            self._discard(kms_key)  # another process was first
        return kept

    def _discard(self, kms_key: str) -> None:
        try:
            self._kms.destroy_key(kms_key)
        except KeyStoreError as error:
            _log.warning("KMS key left unused", kms_key=kms_key, error=str(error))

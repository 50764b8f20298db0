"""The port to whatever keeps the customers' keys."""

import os
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, Self

from lakehouse.errors import LakehouseError

ENCRYPTION_KEY_BYTES = 32  # AES-256
NONCE_KEY_BYTES = 32  # HMAC-SHA256
KEY_BYTES = ENCRYPTION_KEY_BYTES + NONCE_KEY_BYTES


class KeyStoreError(LakehouseError):
    """The key store is not usable, or holds what is no key."""


class UnknownCustomerError(LakehouseError):
    """No personal data of such a customer was ever encrypted, or there is no such customer."""


class CustomerKey(NamedTuple):
    """What one customer's personal fields are encrypted with.

    Attributes:
        encryption: The AES-256 key.
        nonce: The key that nonces are derived with.
    """

    encryption: bytes
    nonce: bytes

    @classmethod
    def random(cls) -> Self:
        """Make a key out of the system's randomness."""
        return cls.from_bytes(os.urandom(KEY_BYTES))

    @classmethod
    def from_bytes(cls, secret: bytes) -> Self:
        """Read a key as a store keeps it.

        Raises:
            KeyStoreError: It does not have a key's length.
        """
        if len(secret) != KEY_BYTES:
            raise KeyStoreError(f"a key of {len(secret)} bytes; it must have {KEY_BYTES}")
        return cls(secret[:ENCRYPTION_KEY_BYTES], secret[ENCRYPTION_KEY_BYTES:])

    def to_bytes(self) -> bytes:
        """Return the key as a store keeps it."""
        return self.encryption + self.nonce

    def __repr__(self) -> str:
        return "CustomerKey(…)"  # logs and tracebacks show what is printed


@dataclass(frozen=True)
class Destroyed:
    """What a store says of a key that is gone: whose it was, and since when, UTC."""

    customer_id: str
    erased_at: datetime


class KeyStore(Protocol):
    """Keeps a key for each customer. What it has destroyed never comes back, under any id."""

    def key_to_read(self, customer_id: str) -> CustomerKey | None:
        """Return a customer's key; None if there is none, or none any more.

        Raises KeyStoreError.
        """

    def key_to_write(self, customer_id: str) -> CustomerKey | None:
        """Return a customer's key, made and safely stored if need be; None after an erasure.

        Raises KeyStoreError.
        """

    def destroy(self, customer_id: str) -> Destroyed:
        """Destroy a customer's key for good; once more, it tells when that was.

        Raises UnknownCustomerError or KeyStoreError.
        """

"""Personal fields as ciphertexts: AES-256-GCM, one key for each customer.

A ciphertext is `01`, a nonce of 12 bytes, the encrypted UTF-8 text and a tag of 16 bytes. The name
of the field and the customer's id are authenticated with it, so a ciphertext that was moved to
another field or customer is refused.

The nonce is a keyed hash of what is encrypted, not a random number: a value of a customer's field
always has the same ciphertext. So two states of a customer can be compared without a key, which
the history of customers is made by, and a message that is sent again is the same message. It
shows that a field changed, which the history tells anyway; equal values of two customers look
different, because their keys are.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lakehouse.errors import LakehouseError
from lakehouse.privacy.keys import CustomerKey

FORMAT = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16
SEPARATOR = b"\x00"


class ForgedFieldError(LakehouseError):
    """A ciphertext is not what was encrypted for this field of this customer."""

    def __init__(self, field: str, customer_id: str) -> None:
        super().__init__(
            f"{field} of customer {customer_id} was changed after it was encrypted, or was "
            "encrypted for another field, for another customer or with another key"
        )


def encrypt_field(key: CustomerKey, field: str, customer_id: str, text: str) -> bytes:
    """Return the ciphertext of a field's text; the same one every time."""
    context, plain = _context(field, customer_id), text.encode()
    digest = hmac.digest(key.nonce, context + SEPARATOR + plain, hashlib.sha256)
    nonce = digest[:NONCE_BYTES]
    return FORMAT + nonce + AESGCM(key.encryption).encrypt(nonce, plain, context)


def decrypt_field(key: CustomerKey, field: str, customer_id: str, ciphertext: bytes) -> str:
    """Return the text of a ciphertext.

    Raises:
        ForgedFieldError: It is not what was encrypted for this field of this customer.
    """
    nonce_end = len(FORMAT) + NONCE_BYTES
    if not ciphertext.startswith(FORMAT) or len(ciphertext) < nonce_end + TAG_BYTES:
        raise ForgedFieldError(field, customer_id)
    nonce, body = ciphertext[len(FORMAT) : nonce_end], ciphertext[nonce_end:]
    try:
        plain = AESGCM(key.encryption).decrypt(nonce, body, _context(field, customer_id))
    except InvalidTag as error:
        raise ForgedFieldError(field, customer_id) from error
    return plain.decode()


def _context(field: str, customer_id: str) -> bytes:
    # No field's name has a zero in it, so different pairs give different bytes.
    return field.encode() + SEPARATOR + customer_id.encode()

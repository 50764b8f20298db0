"""Personal fields as ciphertexts: who can read what, and what is refused."""

import pytest

from lakehouse.privacy.fields import ForgedFieldError, decrypt_field, encrypt_field
from lakehouse.privacy.keys import KEY_BYTES, CustomerKey, KeyStoreError

KEY = CustomerKey.from_bytes(bytes(range(KEY_BYTES)))
OTHER = CustomerKey.from_bytes(bytes(KEY_BYTES))
TEXT = "Zoë Ågren, 12 Quarry Lane"


@pytest.mark.parametrize("text", ["", "x", TEXT, "\x00" * 40, "長" * 1000])
def test_what_was_encrypted_is_read_again(text: str) -> None:
    assert decrypt_field(KEY, "name", "C1", encrypt_field(KEY, "name", "C1", text)) == text


def test_a_ciphertext_shows_nothing_of_the_text() -> None:
    ciphertext = encrypt_field(KEY, "name", "C1", TEXT)
    data = TEXT.encode()
    assert not any(data[at : at + 4] in ciphertext for at in range(len(data) - 3))


def test_a_value_has_one_ciphertext_wherever_it_is_encrypted() -> None:
    assert encrypt_field(KEY, "name", "C1", TEXT) == encrypt_field(KEY, "name", "C1", TEXT)


def test_no_nonce_is_used_for_two_texts() -> None:
    ciphertexts = [
        encrypt_field(KEY, field, customer, f"{TEXT}{number}")
        for number in range(200)
        for field in ("name", "email")
        for customer in ("C1", "C2")
    ]
    assert len({ciphertext[:13] for ciphertext in ciphertexts}) == len(ciphertexts)


def test_equal_values_of_two_customers_look_different() -> None:
    assert encrypt_field(KEY, "name", "C1", TEXT) != encrypt_field(OTHER, "name", "C1", TEXT)


@pytest.mark.parametrize(
    ("field", "customer", "key"),
    [("email", "C1", KEY), ("name", "C2", KEY), ("name", "C1", OTHER), ("nam", "eC1", KEY)],
)
def test_a_ciphertext_is_of_one_field_of_one_customer(
    field: str, customer: str, key: CustomerKey
) -> None:
    ciphertext = encrypt_field(KEY, "name", "C1", TEXT)
    with pytest.raises(ForgedFieldError, match=f"{field} of customer {customer}") as caught:
        decrypt_field(key, field, customer, ciphertext)
    assert TEXT not in str(caught.value)


def test_a_changed_bit_is_refused() -> None:
    ciphertext = encrypt_field(KEY, "name", "C1", TEXT)
    for at in range(len(ciphertext)):
        forged = bytearray(ciphertext)
        forged[at] ^= 1
        with pytest.raises(ForgedFieldError):
            decrypt_field(KEY, "name", "C1", bytes(forged))


def test_a_shortened_ciphertext_is_refused() -> None:
    ciphertext = encrypt_field(KEY, "name", "C1", TEXT)
    for length in range(len(ciphertext)):
        with pytest.raises(ForgedFieldError):
            decrypt_field(KEY, "name", "C1", ciphertext[:length])


def test_a_key_does_not_print_itself() -> None:
    assert repr(KEY.encryption) not in repr(KEY)
    assert repr(KEY.nonce) not in f"{KEY} {[KEY]!r}"


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(KeyStoreError, match="63 bytes"):
        CustomerKey.from_bytes(bytes(63))

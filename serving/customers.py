"""A customer's history in plain text, for who may read the key store; it is never stored so."""

from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import EqualTo, Reference
from pyiceberg.expressions.literals import literal

import schemas
from lakehouse.errors import LakehouseError
from lakehouse.privacy.fields import decrypt_field
from lakehouse.privacy.keys import KeyStore

CUSTOMERS = "silver.customers"
# Where a state came from is for who debugs the history, not for who reads it.
_BOOKKEEPING = ("source_position", "log_partition", "last_offset")


class NoSuchCustomerError(LakehouseError):
    """The table of customers has nobody of this id."""


def customer_history(catalog: Catalog, keys: KeyStore, customer_id: str) -> list[dict[str, Any]]:
    """Return the states of a customer, the first one first, personal fields decrypted.

    Args:
        catalog: The catalog named ``lake``.
        keys: The key store.
        customer_id: The CRM's id.

    Returns:
        Columns of ``silver.customers`` by name. Personal fields are text, or None: the CRM has no
        value, or the customer was erased.

    Raises:
        NoSuchCustomerError: There is no such customer, or batch has not published it yet.
        lakehouse.privacy.fields.ForgedFieldError: A field is not what was encrypted.
        lakehouse.privacy.keys.KeyStoreError: The key store cannot be read.
    """
    mine = EqualTo(term=Reference("customer_id"), value=literal(customer_id))
    states = catalog.load_table(CUSTOMERS).scan(mine).to_arrow().sort_by("valid_from").to_pylist()
    if not states:
        raise NoSuchCustomerError(
            f"{CUSTOMERS} has no customer {customer_id!r}: check the id, or run `lakehouse batch` "
            "over the time in which the customer was landed"
        )
    key = keys.key_to_read(customer_id)
    shown = [c for c in schemas.contract(CUSTOMERS).columns if c.name not in _BOOKKEEPING]

    def read(column: schemas.Column, stored: Any) -> Any:
        if not column.pii or stored is None:
            return stored
        return None if key is None else decrypt_field(key, column.name, customer_id, stored)

    return [{column.name: read(column, state[column.name]) for column in shown} for state in states]

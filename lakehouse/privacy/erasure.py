"""Erasure: a customer's key is destroyed, and that is put on record."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import EqualTo, Reference
from pyiceberg.expressions.literals import literal
from pyiceberg.table import Table

from lakehouse.privacy.keys import Destroyed, KeyStore
from lakehouse.resilience import retrying

ERASURES = "ops.erasures"
# Of a snapshot's summary.
INTENDED = "lakehouse.erasure-of"
# A commit of one row takes milliseconds; others that append at the same time are as quick.
COMMIT_BUDGET_SECONDS = 30.0


@dataclass(frozen=True)
class Erasure:
    """The record of an erasure. It names the customer by id and tells nothing about them.

    Attributes:
        customer_id: Whose key was destroyed.
        erased_at: When it was destroyed, UTC.
        recorded_at: When that was put on record, UTC.
    """

    customer_id: str
    erased_at: datetime
    recorded_at: datetime


def erase(keys: KeyStore, catalog: Catalog, customer_id: str) -> Erasure:
    """Destroy a customer's key and record it; a second time, return the record.

    The intention goes first, so that whoever may not write the record destroys nothing; then the
    key. Should recording fail after all, the erasure holds, and running it again records it with
    the time at which the key went.

    Raises:
        lakehouse.privacy.keys.UnknownCustomerError: The customer never had a key.
        lakehouse.privacy.keys.KeyStoreError: The store cannot be written; nothing was recorded.
        OSError: The record cannot be written.
    """
    if _recorded(catalog.load_table(ERASURES), customer_id) is None:
        _intend(catalog, customer_id)
    return _record(catalog, keys.destroy(customer_id))


@retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
def _intend(catalog: Catalog, customer_id: str) -> None:
    """Commit no rows, and in the snapshot's summary whose key is about to go."""
    table = catalog.load_table(ERASURES)
    table.append(table.schema().as_arrow().empty_table(), {INTENDED: customer_id})


@retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
def _record(catalog: Catalog, destroyed: Destroyed) -> Erasure:
    table = catalog.load_table(ERASURES)
    known = _recorded(table, destroyed.customer_id)
    if known is not None:
        return known
    erasure = Erasure(destroyed.customer_id, destroyed.erased_at, datetime.now(UTC))
    table.append(pa.Table.from_pylist([asdict(erasure)], table.schema().as_arrow()))
    return erasure


def _recorded(table: Table, customer_id: str) -> Erasure | None:
    mine = EqualTo(term=Reference("customer_id"), value=literal(customer_id))
    rows = table.scan(mine).to_arrow().to_pylist()
    return Erasure(**rows[0]) if rows else None

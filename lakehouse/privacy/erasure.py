"""Erasure: a customer's key is destroyed, and that is put on record."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import EqualTo, Reference
from pyiceberg.expressions.literals import literal
from pyiceberg.table import Table

from lakehouse.audit_trail import COMMIT_BUDGET_SECONDS, append_rows
from lakehouse.privacy.keys import KeyStore, UnknownCustomerError
from lakehouse.resilience import retrying
from lakehouse.saga import Journal, Step, Unrecorded, carry_out

ERASURES = "ops.erasures"
# Of a snapshot's summary.
INTENDED = "lakehouse.erasure-of"
WITHDRAWN = "lakehouse.no-erasure-of"
# The steps, in this order.
INTEND, DESTROY_KEY, RECORD = "intend", "destroy-key", "record"


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


def erase(
    keys: KeyStore, catalog: Catalog, customer_id: str, journal: Journal | None = None
) -> Erasure:
    """Destroy a customer's key and record it; a second time, return the record.

    A saga. The intention goes first, so that whoever may not write the record destroys nothing;
    then the key, which is the pivot: nothing brings it back. Should recording fail after all, the
    erasure holds, and running it again records it with the time at which the key went. Of a
    customer without a key, the intention is withdrawn.

    Args:
        keys: The key store.
        catalog: The lake's catalog.
        customer_id: The CRM's id.
        journal: Where the steps are put on record, to be gone on with by whoever comes after a
            crash; left out, all that is not done anyway is done.

    Raises:
        lakehouse.privacy.keys.UnknownCustomerError: The customer never had a key.
        lakehouse.privacy.keys.KeyStoreError: The store cannot be written; nothing was recorded.
        lakehouse.saga.SagaRefusedError: The journal says so of an earlier try.
        OSError: The record cannot be written.
    """

    def intend() -> None:
        if _recorded(catalog.load_table(ERASURES), customer_id) is None:
            _note(catalog, INTENDED, customer_id)

    def destroy_key() -> None:
        keys.destroy(customer_id)

    def record() -> None:
        # The store tells once more when the key went.
        erasure = Erasure(customer_id, keys.destroy(customer_id).erased_at, datetime.now(UTC))
        append_rows(catalog, ERASURES, [asdict(erasure)], once_by="customer_id")

    carry_out(
        [
            Step(INTEND, intend, undo=partial(_note, catalog, WITHDRAWN, customer_id)),
            Step(DESTROY_KEY, destroy_key, is_pivot=True),
            Step(RECORD, record),
        ],
        journal or Unrecorded(),
        refusals=UnknownCustomerError,
    )
    recorded = _recorded(catalog.load_table(ERASURES), customer_id)
    assert recorded is not None  # noqa: S101 - the last step has seen to it
    return recorded


@retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
def _note(catalog: Catalog, what: str, customer_id: str) -> None:
    """Commit no rows, and in the snapshot's summary what is about to be, or will not be."""
    table = catalog.load_table(ERASURES)
    table.append(table.schema().as_arrow().empty_table(), {what: customer_id})


def _recorded(table: Table, customer_id: str) -> Erasure | None:
    mine = EqualTo(term=Reference("customer_id"), value=literal(customer_id))
    rows = table.scan(mine).to_arrow().to_pylist()
    return Erasure(**rows[0]) if rows else None

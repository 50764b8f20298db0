"""Tables in the catalog, created and evolved from their contracts."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import PartitionField
from pyiceberg.table import Table
from pyiceberg.table.update.schema import UpdateSchema
from pyiceberg.table.update.spec import UpdateSpec

import schemas
from lakehouse.resilience import retrying
from schemas.changes import Changes, IncompatibleChangeError, TableState, changes
from schemas.contract import Partitioning, TableContract

__all__ = ["Applied", "IncompatibleChangeError", "Outcome", "apply", "preview"]

# Streams commit every second; a few attempts find the gap between two commits.
COMMIT_BUDGET_SECONDS = 60.0


class Outcome(StrEnum):
    """What became of one table."""

    CREATED = "created"
    EVOLVED = "evolved"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Applied:
    """What was done to one table, and which changes in words."""

    table: str
    outcome: Outcome
    changes: tuple[str, ...] = ()


def apply(catalog: Catalog, contracts: Iterable[TableContract] | None = None) -> list[Applied]:
    """Create what is missing and evolve what has changed; a second run changes nothing.

    Every table is compared before the first is touched, so a refusal leaves all as they were. Rows
    stay as they were written: readers see them by the new schema.

    Args:
        catalog: The catalog named ``lake``.
        contracts: The contracts to apply; all of the platform when left out.

    Raises:
        IncompatibleChangeError: A contract asks for a change that `schemas.changes` refuses.
    """
    wanted = list(schemas.contracts().values() if contracts is None else contracts)
    outcomes = preview(catalog, wanted)
    for contract, outcome in zip(wanted, outcomes, strict=True):
        if outcome.outcome is Outcome.CREATED:
            _create(catalog, contract)
        elif outcome.outcome is Outcome.EVOLVED:
            _evolve(catalog, contract)
    return outcomes


def preview(catalog: Catalog, contracts: Iterable[TableContract] | None = None) -> list[Applied]:
    """Return what ``apply`` would do, and do nothing; raises the same errors."""
    wanted = schemas.contracts().values() if contracts is None else contracts
    return [_compared(catalog, contract) for contract in wanted]


def _compared(catalog: Catalog, contract: TableContract) -> Applied:
    if not catalog.table_exists(contract.name):
        return Applied(contract.name, Outcome.CREATED)
    words = changes(contract, TableState.of(catalog.load_table(contract.name))).in_words()
    return Applied(contract.name, Outcome.EVOLVED if words else Outcome.UNCHANGED, words)


def _create(catalog: Catalog, contract: TableContract) -> None:
    schema = contract.iceberg_schema()
    catalog.create_namespace_if_not_exists(contract.namespace)
    catalog.create_table_if_not_exists(
        contract.name,
        schema=schema,
        partition_spec=contract.partition_spec(schema),
        sort_order=contract.iceberg_sort_order(schema),
        properties=contract.properties,
    )


@retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
def _evolve(catalog: Catalog, contract: TableContract) -> None:
    """Change a table in one commit; again, on what it has become, if another was faster."""
    table = catalog.load_table(contract.name)
    wanted = changes(contract, TableState.of(table))
    with table.transaction() as transaction:
        with transaction.update_schema() as update:
            _change_columns(update, wanted)
        if wanted.partitioning is not None:
            with transaction.update_spec() as respec:
                _change_partitioning(respec, table, wanted)
        if wanted.properties:
            transaction.set_properties(dict(wanted.properties))


def _change_columns(update: UpdateSchema, wanted: Changes) -> None:
    before = {new: old for old, new in wanted.renamed.items()}

    def present(name: str) -> str:
        """Return the name that a column has until the update is through."""
        return before.get(name, name)

    for old, new in wanted.renamed.items():
        update.rename_column(old, new)
    for column in wanted.widened:
        update.update_column(present(column.name), field_type=column.type)
    for column in wanted.described:
        update.update_column(present(column.name), doc=column.description)
    for name in wanted.dropped:
        update.delete_column(name)
    for column in wanted.added:
        update.add_column(column.name, column.type, doc=column.description)


def _change_partitioning(update: UpdateSpec, table: Table, wanted: Changes) -> None:
    def identity(field: PartitionField) -> str:
        column = table.schema().find_column_name(field.source_id) or ""
        return str(Partitioning(wanted.renamed.get(column, column), field.transform))

    # A partitioning that the table once had goes on under the name that it had then.
    names = {identity(part): part.name for spec in table.specs().values() for part in spec.fields}
    present = [identity(part) for part in table.spec().fields]
    parts = {str(part): part for part in wanted.partitioning or ()}
    for part in present:
        if part not in parts:
            update.remove_field(names[part])
    for part, stated in parts.items():
        if part not in present:
            is_free = stated.name not in names.values()
            name = stated.name if is_free else f"{stated.name}_{len(table.specs())}"
            update.add_field(stated.column, stated.transform, names.get(part, name))

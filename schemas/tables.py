"""Tables in the catalog, created and evolved from their contracts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DecimalType, IcebergType, IntegerType, LongType, MapType, NestedField

import schemas
from lakehouse.errors import LakehouseError
from schemas.contract import Column, TableContract


class IncompatibleChangeError(LakehouseError):
    """A contract asks for a change that readers or writers of the table would not survive."""

    def __init__(self, table: str, field: str, problem: str) -> None:
        super().__init__(
            f"{table}.{field}: {problem}; make a new table and backfill it, or undo the change"
        )
        self.table = table
        self.field = field


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


@dataclass(frozen=True)
class _Changes:
    added: tuple[Column, ...] = ()
    widened: tuple[Column, ...] = ()
    described: tuple[Column, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)

    def in_words(self) -> tuple[str, ...]:
        return (
            *(f"added {column.name} {column.type}" for column in self.added),
            *(f"widened {column.name} to {column.type}" for column in self.widened),
            *(f"described {column.name}" for column in self.described),
            *(f"set {key}={value}" for key, value in self.properties.items()),
        )


@dataclass(frozen=True)
class _Step:
    contract: TableContract
    table: Table | None
    changes: _Changes

    def outcome(self) -> Applied:
        if self.table is None:
            return Applied(self.contract.name, Outcome.CREATED)
        words = self.changes.in_words()
        return Applied(self.contract.name, Outcome.EVOLVED if words else Outcome.UNCHANGED, words)


def apply(catalog: Catalog, contracts: Iterable[TableContract] | None = None) -> list[Applied]:
    """Create what is missing and evolve what has changed; a second run changes nothing.

    Every table is compared before the first is touched, so a refusal leaves all as they were.

    Args:
        catalog: The catalog named ``lake``.
        contracts: The contracts to apply; all of the platform when left out.

    Raises:
        IncompatibleChangeError: A contract differs from its table other than by a new optional
            column, a wider number, a description or a table property.
    """
    steps = _plan(catalog, contracts)
    for step in steps:
        if step.table is None:
            _create(catalog, step.contract)
        elif step.changes.in_words():
            _evolve(step.table, step.changes)
    return [step.outcome() for step in steps]


def preview(catalog: Catalog, contracts: Iterable[TableContract] | None = None) -> list[Applied]:
    """Return what ``apply`` would do, and do nothing; raises the same errors."""
    return [step.outcome() for step in _plan(catalog, contracts)]


def _plan(catalog: Catalog, contracts: Iterable[TableContract] | None) -> list[_Step]:
    steps = []
    for contract in schemas.contracts().values() if contracts is None else contracts:
        if catalog.table_exists(contract.name):
            table = catalog.load_table(contract.name)
            steps.append(_Step(contract, table, _compare(contract, table)))
        else:
            steps.append(_Step(contract, None, _Changes()))
    return steps


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


def _evolve(table: Table, changes: _Changes) -> None:
    with table.transaction() as transaction:
        with transaction.update_schema() as update:
            for column in changes.added:
                update.add_column(column.name, column.type, doc=column.description)
            for column in changes.widened:
                update.update_column(column.name, field_type=column.type)
            for column in changes.described:
                update.update_column(column.name, doc=column.description)
        if changes.properties:
            transaction.set_properties(changes.properties)


def _compare(contract: TableContract, table: Table) -> _Changes:
    schema = table.schema()
    present = {field.name: field for field in schema.fields}
    for name in present.keys() - set(contract.column_names):
        raise IncompatibleChangeError(contract.name, name, "the column is in the table only")
    _check_layout(contract, table, schema)
    added, widened, described = [], [], []
    for column in contract.columns:
        current = present.get(column.name)
        if current is None:
            if column.required:
                raise IncompatibleChangeError(
                    contract.name, column.name, "a new column of an existing table must be optional"
                )
            added.append(column)
            continue
        if _is_wider(contract.name, column, current):
            widened.append(column)
        if current.doc != column.description:
            described.append(column)
    properties = {
        key: value
        for key, value in contract.properties.items()
        # The format version is stored beside the properties, not among them.
        if key != "format-version" and table.properties.get(key) != value
    }
    return _Changes(tuple(added), tuple(widened), tuple(described), properties)


def _is_wider(table: str, column: Column, field: NestedField) -> bool:
    if field.required != column.required:
        was, now = (
            "required" if flag else "optional" for flag in (field.required, column.required)
        )
        raise IncompatibleChangeError(table, column.name, f"was {was}, would be {now}")
    if str(field.field_type) == str(column.type) or _same_shape(field.field_type, column.type):
        return False
    if _can_widen(field.field_type, column.type):
        return True
    raise IncompatibleChangeError(
        table, column.name, f"was {field.field_type}, cannot become {column.type}"
    )


def _same_shape(old: IcebergType, new: IcebergType) -> bool:
    """Compare maps without the numbers of their parts, which only the table knows."""
    if not isinstance(old, MapType) or not isinstance(new, MapType):
        return False
    return (old.key_type, old.value_type) == (new.key_type, new.value_type)


def _can_widen(old: IcebergType, new: IcebergType) -> bool:
    if isinstance(old, IntegerType):
        return isinstance(new, LongType)
    if isinstance(old, DecimalType) and isinstance(new, DecimalType):
        return old.scale == new.scale and old.precision < new.precision
    return False


def _check_layout(contract: TableContract, table: Table, schema: Schema) -> None:
    wanted = contract.iceberg_schema()
    layouts = {
        "partitioning": (
            [f"{part.transform}({part.column})" for part in contract.partitioning],
            [
                f"{field.transform}({schema.find_column_name(field.source_id)})"
                for field in table.spec().fields
            ],
        ),
        "sortOrder": (
            list(contract.sort_order),
            [schema.find_column_name(field.source_id) for field in table.sort_order().fields],
        ),
        "primaryKey": (
            sorted(wanted.identifier_field_names()),
            sorted(schema.identifier_field_names()),
        ),
    }
    for location, (now, was) in layouts.items():
        if now != was:
            raise IncompatibleChangeError(contract.name, location, f"was {was}, would be {now}")

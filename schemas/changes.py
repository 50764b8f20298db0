"""What has to change in a table for it to be as its contract says, and which changes are refused.

A change passes if readers and writers of the table survive it, and the rows that are there. That
is decided here alone: for the tables of a lake before they are touched, and for the contracts that
were released last before the new ones are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DecimalType, IcebergType, IntegerType, LongType, MapType

from lakehouse.errors import LakehouseError
from schemas.contract import Column, Partitioning, TableContract


class IncompatibleChangeError(LakehouseError):
    """A contract asks for a change that readers or writers of the table would not survive."""

    def __init__(self, table: str, field: str, problem: str) -> None:
        super().__init__(
            f"{table}.{field}: {problem}; make a new table and backfill it, or undo the change"
        )
        self.table = table
        self.field = field


@dataclass(frozen=True)
class ColumnState:
    """One column as a table has it; None where its description is not known."""

    type: IcebergType
    required: bool
    description: str | None = None


@dataclass(frozen=True)
class TableState:
    """What a table is like, wherever that was read from.

    Attributes:
        columns: By name, in order.
        partitioning: How new rows are partitioned.
        partitioned_by: Columns that rows are partitioned by, those of long ago too.
        sort_order: Columns, in order.
        key: Columns of the identifier.
        properties: Of the table; None where they are not known.
    """

    columns: Mapping[str, ColumnState]
    partitioning: tuple[Partitioning, ...]
    partitioned_by: frozenset[str]
    sort_order: tuple[str, ...]
    key: frozenset[str]
    properties: Mapping[str, str] | None = None

    @classmethod
    def of(cls, table: Table) -> Self:
        """Return what a table of a catalog is like."""
        schema = table.schema()

        def name(source_id: int) -> str:
            return schema.find_column_name(source_id) or ""

        return cls(
            columns={
                f.name: ColumnState(f.field_type, f.required, f.doc or "") for f in schema.fields
            },
            partitioning=tuple(
                Partitioning(name(part.source_id), part.transform) for part in table.spec().fields
            ),
            partitioned_by=frozenset(
                name(part.source_id) for spec in table.specs().values() for part in spec.fields
            ),
            sort_order=tuple(name(part.source_id) for part in table.sort_order().fields),
            key=frozenset(schema.identifier_field_names()),
            properties=table.properties,
        )

    @classmethod
    def stated(cls, contract: TableContract) -> Self:
        """Return what a table is like that was just made from a contract."""
        schema: Schema = contract.iceberg_schema()
        return cls(
            columns={c.name: ColumnState(c.type, c.required) for c in contract.columns},
            partitioning=contract.partitioning,
            partitioned_by=frozenset(part.column for part in contract.partitioning),
            sort_order=contract.sort_order,
            key=frozenset(schema.identifier_field_names()),
        )

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the state once columns have new names, given by their old ones."""

        def new(name: str) -> str:
            return names.get(name, name)

        return replace(
            self,
            columns={new(name): column for name, column in self.columns.items()},
            partitioning=tuple(
                replace(part, column=new(part.column)) for part in self.partitioning
            ),
            partitioned_by=frozenset(map(new, self.partitioned_by)),
            sort_order=tuple(map(new, self.sort_order)),
            key=frozenset(map(new, self.key)),
        )


@dataclass(frozen=True)
class Changes:
    """What has to be done to a table.

    Attributes:
        renamed: New names of columns, by their old ones.
        partitioning: How rows are to be partitioned from now on; None for as before.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    added: tuple[Column, ...] = ()
    widened: tuple[Column, ...] = ()
    dropped: tuple[str, ...] = ()
    described: tuple[Column, ...] = ()
    partitioning: tuple[Partitioning, ...] | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    def in_words(self) -> tuple[str, ...]:
        """Return a few words on each change."""
        parts = None if self.partitioning is None else ", ".join(map(str, self.partitioning))
        return (
            *(f"renamed {old} to {new}" for old, new in self.renamed.items()),
            *(f"added {column.name} {column.type}" for column in self.added),
            *(f"widened {column.name} to {column.type}" for column in self.widened),
            *(f"dropped {name}" for name in self.dropped),
            *(f"described {column.name}" for column in self.described),
            *([] if parts is None else [f"partitioned by {parts or 'nothing'} from now on"]),
            *(f"set {key}={value}" for key, value in self.properties.items()),
        )


def changes(contract: TableContract, state: TableState) -> Changes:
    """Return what has to be done to a table for it to be as its contract says.

    Raises:
        IncompatibleChangeError: The contract differs from the table other than by a new optional
            column, a wider number, a new name that states the old one as its alias, an optional
            column that it states as dropped, a description, the partitioning, or a property.
    """
    renamed = _renamed(contract, state.columns)
    state = state.renamed(renamed)
    dropped = _dropped(contract, state)
    _check_order_and_key(contract, state)
    added, widened, described = [], [], []
    for column in contract.columns:
        current = state.columns.get(column.name)
        if current is None:
            if column.required:
                raise IncompatibleChangeError(
                    contract.name, column.name, "a new column of an existing table must be optional"
                )
            added.append(column)
            continue
        if _is_wider(contract.name, column, current):
            widened.append(column)
        if current.description not in (None, column.description):
            described.append(column)
    stays = set(map(str, contract.partitioning)) == set(map(str, state.partitioning))
    known = state.properties
    return Changes(
        renamed=renamed,
        added=tuple(added),
        widened=tuple(widened),
        dropped=dropped,
        described=tuple(described),
        partitioning=None if stays else contract.partitioning,
        properties={
            key: value
            for key, value in contract.properties.items()
            # The format version is stored beside the properties, not among them.
            if known is not None and key != "format-version" and known.get(key) != value
        },
    )


def _renamed(contract: TableContract, present: Iterable[str]) -> dict[str, str]:
    return {
        alias: column.name
        for column in contract.columns
        if column.name not in present
        for alias in column.aliases
        if alias in present
    }


def _dropped(contract: TableContract, state: TableState) -> tuple[str, ...]:
    dropped = tuple(name for name in state.columns if name not in contract.column_names)
    for name in dropped:
        if name not in contract.dropped:
            problem = "the column is in the table only, and not among the contract's droppedColumns"
        elif state.columns[name].required:
            problem = "is required, only an optional column can be dropped"
        elif name in state.partitioned_by:
            problem = "rows are partitioned by it, or once were"
        else:
            continue
        raise IncompatibleChangeError(contract.name, name, problem)
    return dropped


def _check_order_and_key(contract: TableContract, state: TableState) -> None:
    wanted = TableState.stated(contract)
    for location, was, now in (
        ("sortOrder", list(state.sort_order), list(wanted.sort_order)),
        ("primaryKey", sorted(state.key), sorted(wanted.key)),
    ):
        if now != was:
            raise IncompatibleChangeError(contract.name, location, f"was {was}, would be {now}")


def _is_wider(table: str, column: Column, current: ColumnState) -> bool:
    if current.required != column.required:
        was, now = (
            "required" if flag else "optional" for flag in (current.required, column.required)
        )
        raise IncompatibleChangeError(table, column.name, f"was {was}, would be {now}")
    if str(current.type) == str(column.type) or _same_shape(current.type, column.type):
        return False
    if _can_widen(current.type, column.type):
        return True
    raise IncompatibleChangeError(
        table, column.name, f"was {current.type}, cannot become {column.type}"
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

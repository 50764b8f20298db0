"""What a table's contract says, as typed values that other code derives its columns from."""

from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortField, SortOrder
from pyiceberg.transforms import IdentityTransform, TimeTransform, Transform
from pyiceberg.types import IcebergType, NestedField

from lakehouse.errors import LakehouseError
from schemas.quality import QualityRule

# What a topic's events call it unless the contract says otherwise.
EVENT_TIME = "event_time"


class ContractError(LakehouseError):
    """A contract is wrong; says in which file, at which field, and why."""

    def __init__(self, source: str, location: str, problem: str) -> None:
        super().__init__(f"{source}: {location}: {problem}")
        self.source = source
        self.location = location
        self.problem = problem


class StatementError(ValueError):
    """Something that a contract states cannot be meant; says at which field, and why."""

    def __init__(self, location: str, problem: str) -> None:
        super().__init__(f"{location}: {problem}")
        self.location = location
        self.problem = problem


@dataclass(frozen=True)
class Column:
    """One column: its Iceberg type, what it means, in which unit, and how it may be shown.

    Attributes:
        aliases: Names that it had before; a table that has one of them is renamed.
        carried: It is taken along from where the table is made of: see `schemas.carrying`.
        sources: What its values are made of, such as ``silver.trades.price``: see
            `schemas.lineage`.
    """

    name: str
    type: IcebergType
    required: bool
    description: str
    unit: str | None
    classification: str
    pii: bool
    aliases: tuple[str, ...] = ()
    carried: bool = False
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partitioning:
    """One partition field: a transform of a column, such as ``day`` of ``ingested_at``."""

    column: str
    transform: Transform[object, object]

    def __str__(self) -> str:
        return f"{self.transform}({self.column})"

    @property
    def name(self) -> str:
        """Name of the partition field, as Spark would call it."""
        if isinstance(self.transform, IdentityTransform):
            return self.column
        return f"{self.column}_{str(self.transform).partition('[')[0]}"

    @property
    def is_by_time(self) -> bool:
        """Whether rows of one partition are of one hour, day, month or year."""
        return isinstance(self.transform, TimeTransform)


@dataclass(frozen=True)
class SchemaVersion:
    """One version of a topic's Avro schema: its id on the wire and its file under ``avro/``."""

    id: int
    file: str


@dataclass(frozen=True)
class Topic:
    """A Kafka topic, the expression of its message key, and its schema versions, oldest first.

    A topic of raw bytes has neither subject nor versions.

    Attributes:
        event_time: The field that tells when an event happened, in microseconds, UTC.
    """

    name: str
    key: str | None
    subject: str | None
    versions: tuple[SchemaVersion, ...]
    event_time: str = EVENT_TIME


@dataclass(frozen=True)
class FileColumn:
    """One column that the files of a dataset have, and what its values must be like.

    Attributes:
        synonyms: Other names that files give it.
        pattern: Regular expression that a whole text matches.
        values: The only texts that there are; any when empty.
        minimum: Least number; None for no bound.
        above: Number that every value exceeds; None for no bound.
    """

    name: str
    type: IcebergType
    required: bool
    description: str
    synonyms: tuple[str, ...] = ()
    pattern: str | None = None
    values: tuple[str, ...] = ()
    minimum: Decimal | None = None
    above: Decimal | None = None


@dataclass(frozen=True)
class FileDataset:
    """Files that are dropped to be loaded into one table.

    Attributes:
        name: Such as ``instruments``: a folder of the drop folder, and the start of files' names.
        table: The table that they are loaded into.
        formats: Of ``csv``, ``json`` and ``parquet``, those that files may have.
    """

    name: str
    table: str
    formats: tuple[str, ...]
    columns: tuple[FileColumn, ...]


@dataclass(frozen=True)
class TableContract:
    """Everything that a contract states about one table.

    Attributes:
        name: Namespace and table, such as ``silver.trades``.
        version: Of the contract.
        key: Columns that identify a row; in a speed twin, a row's versions share it.
        key_is_nullable: Some key columns may be null, so Iceberg cannot hold them as identifier.
        retention_days: Days that rows are kept; None when no age ends them, as of a speed twin,
            which is pruned instead. Where it is stated, the table is partitioned by time.
        freshness_seconds: Target age of the newest data that a reader finds.
        speed_twin: The table of the speed layer with the same columns, if there is one.
        sources: The tables of bronze that batch makes it of; none of a table that others write.
        quality: What must be true of rows before they are published.
        batch_twin: The table of the batch layer, when this one is a speed twin.
        files: What files are loaded into it, if any are.
        dropped: Columns that it had once and that were given up on purpose.
    """

    name: str
    version: str
    description: str
    owner: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    key_is_nullable: bool
    partitioning: tuple[Partitioning, ...]
    sort_order: tuple[str, ...]
    retention_days: int | None
    freshness_seconds: float
    properties: dict[str, str] = field(hash=False)
    topics: tuple[Topic, ...] = ()
    sources: tuple[str, ...] = ()
    quality: tuple[QualityRule, ...] = ()
    speed_twin: str | None = None
    batch_twin: str | None = None
    files: FileDataset | None = None
    dropped: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the contract."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def carried(self) -> dict[str, str]:
        """Types of the carried columns, as Iceberg and Spark write them, by name."""
        return {column.name: str(column.type) for column in self.columns if column.carried}

    def column(self, name: str) -> Column:
        """Return the column of that name.

        Raises:
            LakehouseError: The table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise LakehouseError(f"{self.name} has no column {name}")

    def iceberg_schema(self) -> Schema:
        """Return the schema as a newly created table has it.

        Field ids follow the order of the contract; a table that has evolved may have others.
        The rows of a speed twin are versions of a key, so its key is no identifier.
        """
        fields = [
            NestedField(
                field_id=number,
                name=column.name,
                field_type=column.type,
                required=column.required,
                doc=column.description,
            )
            for number, column in enumerate(self.columns, start=1)
        ]
        is_identified = not self.key_is_nullable and self.batch_twin is None
        identifier = [f.field_id for f in fields if f.name in self.key] if is_identified else []
        return assign_fresh_schema_ids(Schema(*fields, identifier_field_ids=identifier))

    def arrow_schema(self) -> pa.Schema:
        """Return the schema that Arrow tables have before they are appended to this table."""
        return schema_to_pyarrow(self.iceberg_schema(), include_field_ids=False)

    def partition_spec(self, schema: Schema) -> PartitionSpec:
        """Return the partition spec over the field ids of ``schema``."""
        return PartitionSpec(
            *(
                PartitionField(
                    source_id=schema.find_field(part.column).field_id,
                    field_id=PARTITION_FIELD_ID_START + number,
                    transform=part.transform,
                    name=part.name,
                )
                for number, part in enumerate(self.partitioning)
            )
        )

    def iceberg_sort_order(self, schema: Schema) -> SortOrder:
        """Return the sort order (ascending, nulls first) over the field ids of ``schema``."""
        if not self.sort_order:
            return UNSORTED_SORT_ORDER
        return SortOrder(
            *(
                SortField(source_id=schema.find_field(name).field_id, transform=IdentityTransform())
                for name in self.sort_order
            )
        )

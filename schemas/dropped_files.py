"""What a contract says of the files that are loaded into its table."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from open_data_contract_standard.model import SchemaProperty
from pyiceberg.types import (
    DateType,
    DecimalType,
    IcebergType,
    LongType,
    StringType,
    TimestamptzType,
)

from schemas.contract import Column, FileColumn, FileDataset, StatementError

# How the standard calls a schema object that is no table.
FILE = "file"
FORMATS = ("csv", "json", "parquet")
FILE_CUSTOM_PROPERTIES = {"formats"}
FILE_COLUMN_CUSTOM_PROPERTIES = {"unit"}
# What a text in a file can be read as.
COLUMN_TYPES: tuple[type[IcebergType], ...] = (
    StringType,
    LongType,
    DecimalType,
    DateType,
    TimestamptzType,
)
RULES = {"pattern", "minimum", "exclusiveMinimum"}


def file_dataset(
    name: str,
    table: str,
    columns: tuple[Column, ...],
    properties: tuple[SchemaProperty, ...],
    customs: Mapping[str, Any],
) -> FileDataset:
    """Return the dataset that a schema object of type ``file`` states.

    Args:
        name: Name of the dataset.
        table: The table that its files are loaded into.
        columns: Its columns, as those of a table are read.
        properties: The same columns as the standard has them, for what only files have.
        customs: Custom properties of the schema object.

    Raises:
        StatementError: A format, a type, a rule or a name is not one that loading can use.
    """
    formats = customs.get("formats")
    if not isinstance(formats, list) or not formats or not set(formats) <= set(FORMATS):
        raise StatementError(f"{name}.formats", f"{formats!r} are not some of {FORMATS}")
    found = tuple(
        _file_column(f"{name}.{column.name}", column, stated)
        for column, stated in zip(columns, properties, strict=True)
    )
    seen: set[str] = set()
    for column in found:
        for word in (column.name, *column.synonyms):
            if word in seen:
                raise StatementError(f"{name}.{column.name}.synonyms", f"{word!r} is stated twice")
            seen.add(word)
    return FileDataset(name, table, tuple(formats), found)


def _file_column(where: str, column: Column, stated: SchemaProperty) -> FileColumn:
    if not isinstance(column.type, COLUMN_TYPES):
        raise StatementError(f"{where}.physicalType", f"{column.type} is not read from files")
    rules = stated.logicalTypeOptions or {}
    for unknown in rules.keys() - RULES:
        raise StatementError(f"{where}.logicalTypeOptions.{unknown}", "is not a known rule")
    pattern = rules.get("pattern")
    if pattern is not None:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise StatementError(f"{where}.logicalTypeOptions.pattern", str(error)) from error
    return FileColumn(
        name=column.name,
        type=column.type,
        required=column.required,
        description=column.description,
        synonyms=tuple(str(entry.synonym) for entry in stated.synonyms or ()),
        pattern=pattern,
        values=tuple(str(entry.value) for entry in stated.enum or ()),
        minimum=_number(where, rules, "minimum"),
        above=_number(where, rules, "exclusiveMinimum"),
    )


def _number(where: str, rules: Mapping[str, Any], rule: str) -> Decimal | None:
    bound = rules.get(rule)
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int):
        raise StatementError(f"{where}.logicalTypeOptions.{rule}", f"{bound!r} is no whole number")
    return Decimal(bound)

"""From the text of an Open Data Contract Standard document to typed contracts, or a refusal."""

import re
from collections.abc import Iterator
from typing import Any

from open_data_contract_standard.model import (
    CustomProperty,
    SchemaObject,
    SchemaProperty,
    Team,
)

from schemas.carrying import not_carriable
from schemas.contract import (
    Column,
    ContractError,
    FileDataset,
    Partitioning,
    StatementError,
    TableContract,
)
from schemas.documents import read_document
from schemas.dropped_files import (
    FILE,
    FILE_COLUMN_CUSTOM_PROPERTIES,
    FILE_CUSTOM_PROPERTIES,
    file_dataset,
)
from schemas.log_topics import log_topic
from schemas.quality import QualityRule, QualityRuleError, quality_rules
from schemas.service_levels import KEPT, freshness_seconds, retention_days
from schemas.types import parse_transform, parse_type
from schemas.write_profiles import PROFILES, SPEED_TWIN_PROPERTIES

NAME = re.compile(r"[a-z][a-z0-9_]*")
TABLE_NAME = re.compile(rf"{NAME.pattern}\.{NAME.pattern}")

TABLE_CUSTOM_PROPERTIES = {
    "writeProfile",
    "sortOrder",
    "speedTwin",
    "nullableKey",
    "topic",
    "sources",
    "tableProperties",
    "droppedColumns",
}
COLUMN_CUSTOM_PROPERTIES = {"unit", "partitionTransform", "pii", "aliases", "carried"}


def parse(text: str, source: str) -> list[TableContract]:
    """Return the contract of a table, and of its speed twin when one is declared.

    Args:
        text: The YAML document, Open Data Contract Standard version 3, one table in it.
        source: Name of the file, for the error.

    Raises:
        ContractError: The document breaks the standard or our rules; names the field.
    """
    try:
        return _Document(text, source).contracts()
    except StatementError as error:
        raise ContractError(source, error.location, error.problem) from error


class _Document:
    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._standard = read_document(text, source)
        stated = self._standard.schema_ or []
        tables = [entry for entry in stated if entry.physicalType != FILE]
        if len(tables) != 1:
            raise self._error("schema", f"must hold one table, holds {len(tables)}")
        self._table: SchemaObject = tables[0]
        self._service_levels = self._standard.slaProperties or []
        self._files = [entry for entry in stated if entry.physicalType == FILE]
        self._name = self._table.physicalName or ""
        if not TABLE_NAME.fullmatch(self._name):
            raise self._error("schema[0].physicalName", f"{self._name!r} is not namespace.table")
        self._custom = self._customs(
            self._table.customProperties, self._name, TABLE_CUSTOM_PROPERTIES
        )

    def contracts(self) -> list[TableContract]:
        properties = tuple(self._table.properties or ())
        columns = tuple(self._columns(self._name, properties, COLUMN_CUSTOM_PROPERTIES))
        names = [column.name for column in columns]
        dropped = self._names(self._custom.get("droppedColumns"), f"{self._name}.droppedColumns")
        self._distinct([*names, *(a for column in columns for a in column.aliases), *dropped])
        profile = self._custom.get("writeProfile")
        if profile not in PROFILES:
            raise self._error(
                f"{self._name}.writeProfile", f"{profile!r} is not one of {sorted(PROFILES)}"
            )
        twin, topic = self._custom.get("speedTwin"), self._custom.get("topic")
        table = TableContract(
            name=self._name,
            version=self._text(self._standard.version, "version"),
            description=self._text(
                self._standard.description and self._standard.description.purpose,
                "description.purpose",
            ),
            owner=self._owner(),
            columns=columns,
            key=self._key(properties),
            key_is_nullable=bool(self._custom.get("nullableKey", False)),
            partitioning=self._partitioning(properties),
            sort_order=self._sort_order(names),
            retention_days=retention_days(self._service_levels, self._name),
            freshness_seconds=freshness_seconds(self._service_levels, self._name),
            properties=PROFILES[profile] | self._table_properties(),
            topics=() if topic is None else (log_topic(topic, f"{self._name}.topic"),),
            sources=self._sources(),
            quality=tuple(self._quality()),
            speed_twin=twin,
            files=self._dataset(),
            dropped=dropped,
        )
        if table.retention_days is not None and not any(p.is_by_time for p in table.partitioning):
            raise self._error(
                f"slaProperties.retention({self._name}).value",
                "rows go by whole partitions of time, and the table has none: partition it by the "
                f"hour, day, month or year, or state that its rows are {KEPT!r}, and why",
            )
        for column in columns:
            if column.carried and (problem := not_carriable(self._name, column)):
                raise self._error(f"{self._name}.{column.name}.carried", problem)
        return [table] if twin is None else [table, self._twin_of(table, twin)]

    def _twin_of(self, table: TableContract, name: object) -> TableContract:
        if not isinstance(name, str) or not TABLE_NAME.fullmatch(name) or name == table.name:
            raise self._error(f"{self._name}.speedTwin", f"{name!r} is not another table's name")
        return TableContract(
            name=name,
            version=table.version,
            description=f"Speed layer's row versions of {table.name}. {table.description}",
            owner=table.owner,
            columns=table.columns,
            key=table.key,
            key_is_nullable=table.key_is_nullable,
            partitioning=table.partitioning,
            sort_order=table.sort_order,
            retention_days=retention_days(self._service_levels, name),
            freshness_seconds=freshness_seconds(self._service_levels, name),
            properties=PROFILES["streaming"] | SPEED_TWIN_PROPERTIES,
            batch_twin=table.name,
            dropped=table.dropped,
        )

    def _dataset(self) -> FileDataset | None:
        if not self._files:
            return None
        if len(self._files) != 1:
            raise self._error("schema", f"must hold one kind of file, holds {len(self._files)}")
        (stated,) = self._files
        name, properties = stated.physicalName or "", tuple(stated.properties or ())
        if not NAME.fullmatch(name):
            raise self._error("schema.physicalName", f"bad name {name!r}")
        customs = self._customs(stated.customProperties, name, FILE_CUSTOM_PROPERTIES)
        columns = self._columns(name, properties, FILE_COLUMN_CUSTOM_PROPERTIES)
        return file_dataset(name, self._name, tuple(columns), properties, customs)

    def _columns(
        self, owner: str, properties: tuple[SchemaProperty, ...], known: set[str]
    ) -> Iterator[Column]:
        if not properties:
            raise self._error(f"{owner}.properties", "states no columns")
        seen: set[str] = set()
        for number, prop in enumerate(properties):
            name = prop.name or ""
            where = f"{owner}.{name}"
            if not NAME.fullmatch(name):
                raise self._error(f"{owner}.properties[{number}].name", f"bad name {name!r}")
            if name in seen:
                raise self._error(where, "is stated twice")
            seen.add(name)
            customs = self._customs(prop.customProperties, where, known)
            try:
                column_type = parse_type(prop.physicalType or "", prop.logicalType or "")
            except ValueError as error:
                raise self._error(f"{where}.physicalType", str(error)) from error
            if prop.required is None:
                raise self._error(f"{where}.required", "must be stated")
            yield Column(
                name=name,
                type=column_type,
                required=prop.required,
                description=self._text(prop.description, f"{where}.description"),
                unit=customs.get("unit"),
                classification=self._text(prop.classification, f"{where}.classification"),
                pii=bool(customs.get("pii", False)),
                aliases=self._names(customs.get("aliases"), f"{where}.aliases"),
                carried=bool(customs.get("carried", False)),
                sources=tuple(prop.transformSourceObjects or ()),
            )

    def _names(self, stated: object, where: str) -> tuple[str, ...]:
        names = [] if stated is None else stated
        if not isinstance(names, list) or not all(NAME.fullmatch(str(name)) for name in names):
            raise self._error(where, "must be a list of column names")
        return tuple(map(str, names))

    def _distinct(self, names: list[str]) -> None:
        """Refuse a name that means two columns, of now or of before."""
        for place, name in enumerate(names):
            if name in names[:place]:
                raise self._error(
                    f"{self._name}.{name}", "is the name, an alias or a dropped name of another"
                )

    def _key(self, properties: tuple[SchemaProperty, ...]) -> tuple[str, ...]:
        members = [prop for prop in properties if prop.primaryKey]
        if not members:
            raise self._error(f"{self._name}.primaryKey", "no column is part of a primary key")
        for prop in members:
            if not prop.required and not self._custom.get("nullableKey"):
                raise self._error(
                    f"{self._name}.{prop.name}.primaryKey", "a key column must be required"
                )
        return self._positioned(members, "primaryKeyPosition")

    def _partitioning(self, properties: tuple[SchemaProperty, ...]) -> tuple[Partitioning, ...]:
        transforms = {}
        for prop in properties:
            where = f"{self._name}.{prop.name}.partitionTransform"
            transform = _value(prop.customProperties, "partitionTransform")
            if prop.partitioned is not True and transform is not None:
                raise self._error(where, "stated for a column that is not partitioned")
            if prop.partitioned:
                column_type = parse_type(prop.physicalType or "", prop.logicalType or "")
                try:
                    transforms[prop.name] = parse_transform(str(transform), column_type)
                except ValueError as error:
                    raise self._error(where, str(error)) from error
        members = [prop for prop in properties if prop.partitioned]
        return tuple(
            Partitioning(name, transforms[name])
            for name in self._positioned(members, "partitionKeyPosition")
        )

    def _positioned(self, members: list[SchemaProperty], position: str) -> tuple[str, ...]:
        ranks = {prop.name or "": getattr(prop, position) for prop in members}
        if sorted(rank or 0 for rank in ranks.values()) != list(range(1, len(ranks) + 1)):
            raise self._error(f"{self._name}.{position}", f"must count from 1: {ranks}")
        return tuple(sorted(ranks, key=lambda name: int(ranks[name])))

    def _sort_order(self, names: list[str]) -> tuple[str, ...]:
        order = self._custom.get("sortOrder", [])
        where = f"{self._name}.sortOrder"
        if not isinstance(order, list) or len(set(map(str, order))) != len(order):
            raise self._error(where, "must be a list of different columns")
        for name in order:
            if name not in names:
                raise self._error(where, f"{name!r} is not a column")
        return tuple(order)

    def _sources(self) -> tuple[str, ...]:
        sources = self._custom.get("sources", [])
        if not isinstance(sources, list) or not all(
            TABLE_NAME.fullmatch(str(source)) for source in sources
        ):
            raise self._error(f"{self._name}.sources", "must be a list of tables")
        return tuple(map(str, sources))

    def _quality(self) -> Iterator[QualityRule]:
        try:
            yield from quality_rules(self._table.quality or ())
        except QualityRuleError as error:
            raise self._error(f"{self._name}.quality", str(error)) from error

    def _table_properties(self) -> dict[str, str]:
        stated = self._custom.get("tableProperties", {})
        if not isinstance(stated, dict):
            raise self._error(f"{self._name}.tableProperties", "must be a mapping")
        return {str(key): str(value) for key, value in stated.items()}

    def _owner(self) -> str:
        team = self._standard.team
        return self._text(team.name if isinstance(team, Team) else None, "team.name")

    def _customs(
        self, properties: list[CustomProperty] | None, where: str, known: set[str]
    ) -> dict[str, Any]:
        stated: dict[str, Any] = {}
        for prop in properties or ():
            if prop.property not in known:
                raise self._error(f"{where}.{prop.property}", "is not a known custom property")
            if prop.property in stated:
                raise self._error(f"{where}.{prop.property}", "is stated twice")
            stated[prop.property] = prop.value
        return stated

    def _text(self, value: object, where: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(where, "must be stated")
        return value.strip()

    def _error(self, location: str, problem: str) -> ContractError:
        return ContractError(self._source, location, problem)


def _value(properties: list[CustomProperty] | None, name: str) -> Any | None:
    return next((prop.value for prop in properties or () if prop.property == name), None)

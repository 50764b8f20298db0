"""From the text of an Open Data Contract Standard document to typed contracts, or a refusal."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from open_data_contract_standard.model import (
    CustomProperty,
    SchemaObject,
    SchemaProperty,
    Team,
)

from schemas.contract import (
    EVENT_TIME,
    Column,
    ContractError,
    FileDataset,
    Partitioning,
    SchemaVersion,
    TableContract,
    Topic,
)
from schemas.documents import read_document
from schemas.dropped_files import (
    FILE,
    FILE_COLUMN_CUSTOM_PROPERTIES,
    FILE_CUSTOM_PROPERTIES,
    FileRuleError,
    file_dataset,
)
from schemas.quality import QualityRule, QualityRuleError, quality_rules
from schemas.types import parse_transform, parse_type

# Rounded up, so that a leap year never shortens what was promised.
DAYS_PER_UNIT = {"d": 1.0, "y": 365.2425}
SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNTIL_PRUNED = "until_pruned"
NAME = re.compile(r"[a-z][a-z0-9_]*")
TABLE_NAME = re.compile(rf"{NAME.pattern}\.{NAME.pattern}")

BASE_PROPERTIES = {
    # Version 2 is the newest that Spark, Trino and PyIceberg all write.
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # How long a snapshot can be read: a week of hourly publications to look back at.
    "history.expire.max-snapshot-age-ms": str(7 * 24 * 60 * 60 * 1000),
}
# A table that commits every second must bound its own history, or planning a scan and writing
# the metadata file grow with every commit. Sixty versions are about a minute of commits: longer
# than any reader holds a metadata file that it has just looked up.
STREAMING_PROPERTIES = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "60",
    "commit.manifest-merge.enabled": "true",
    # A reader opens every manifest; ten are read in milliseconds, Iceberg's hundred are not.
    "commit.manifest.min-count-to-merge": "10",
    # Others commit to the table all the time: an append waits for its turn, it does not fail.
    "commit.retry.num-retries": "20",
    # Each snapshot that is kept costs every commit about 0.1 ms of CPU: at two commits a second,
    # five minutes of history are a tenth of a core.
    "history.expire.max-snapshot-age-ms": str(5 * 60 * 1000),
}
# Pruning deletes row versions that no append adds to, so appends meanwhile are no conflict.
SPEED_TWIN_PROPERTIES = {
    "write.merge.isolation-level": "snapshot",
    "write.delete.isolation-level": "snapshot",
}
PROFILES = {"batch": BASE_PROPERTIES, "streaming": BASE_PROPERTIES | STREAMING_PROPERTIES}

TABLE_CUSTOM_PROPERTIES = {
    "writeProfile",
    "sortOrder",
    "speedTwin",
    "nullableKey",
    "topic",
    "tableProperties",
}
TOPIC_KEYS = {"name", "key", "subject", "versions", "eventTime"}
COLUMN_CUSTOM_PROPERTIES = {"unit", "partitionTransform", "pii"}


def parse(text: str, source: str) -> list[TableContract]:
    """Return the contract of a table, and of its speed twin when one is declared.

    Args:
        text: The YAML document, Open Data Contract Standard version 3, one table in it.
        source: Name of the file, for the error.

    Raises:
        ContractError: The document breaks the standard or our rules; names the field.
    """
    return _Document(text, source).contracts()


class _Document:
    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._standard = read_document(text, source)
        stated = self._standard.schema_ or []
        tables = [entry for entry in stated if entry.physicalType != FILE]
        if len(tables) != 1:
            raise self._error("schema", f"must hold one table, holds {len(tables)}")
        self._table: SchemaObject = tables[0]
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
        profile = self._custom.get("writeProfile")
        if profile not in PROFILES:
            raise self._error(
                f"{self._name}.writeProfile", f"{profile!r} is not one of {sorted(PROFILES)}"
            )
        twin = self._custom.get("speedTwin")
        table = TableContract(
            name=self._name,
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
            retention_days=self._days(self._name),
            freshness_seconds=self._seconds(self._name),
            properties=PROFILES[profile] | self._table_properties(),
            topics=tuple(self._topics()),
            quality=tuple(self._quality()),
            speed_twin=twin,
            files=self._dataset(),
        )
        return [table] if twin is None else [table, self._twin_of(table, twin)]

    def _twin_of(self, table: TableContract, name: object) -> TableContract:
        if not isinstance(name, str) or not TABLE_NAME.fullmatch(name) or name == table.name:
            raise self._error(f"{self._name}.speedTwin", f"{name!r} is not another table's name")
        return TableContract(
            name=name,
            description=f"Speed layer's row versions of {table.name}. {table.description}",
            owner=table.owner,
            columns=table.columns,
            key=table.key,
            key_is_nullable=table.key_is_nullable,
            partitioning=table.partitioning,
            sort_order=table.sort_order,
            retention_days=self._days(name),
            freshness_seconds=self._seconds(name),
            properties=PROFILES["streaming"] | SPEED_TWIN_PROPERTIES,
            batch_twin=table.name,
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
        try:
            return file_dataset(name, self._name, tuple(columns), properties, customs)
        except FileRuleError as error:
            raise self._error(error.location, error.problem) from error

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

    def _topics(self) -> Iterator[Topic]:
        topic = self._custom.get("topic")
        where = f"{self._name}.topic"
        if topic is None:
            return
        if not isinstance(topic, dict):
            raise self._error(where, "must be a mapping")
        for key in topic.keys() - TOPIC_KEYS:
            raise self._error(f"{where}.{key}", "is not a key of a topic")
        versions = []
        for number, version in enumerate(topic.get("versions", [])):
            if not isinstance(version, dict) or version.keys() != {"id", "file"}:
                raise self._error(f"{where}.versions[{number}]", "must hold id and file")
            if not isinstance(version["id"], int) or not 0 < version["id"] < 2**31:
                raise self._error(f"{where}.versions[{number}].id", "must be a positive integer")
            versions.append(SchemaVersion(version["id"], str(version["file"])))
        if bool(versions) != bool(topic.get("subject")):
            raise self._error(f"{where}.subject", "goes with versions: both or neither")
        yield Topic(
            name=self._text(topic.get("name"), f"{where}.name"),
            key=topic.get("key"),
            subject=topic.get("subject"),
            versions=tuple(versions),
            event_time=str(topic.get("eventTime", EVENT_TIME)),
        )

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

    def _days(self, element: str) -> int | None:
        value, unit = self._service_level("retention", element)
        if value == UNTIL_PRUNED:
            return None
        return math.ceil(self._scaled("retention", element, value, unit, DAYS_PER_UNIT))

    def _seconds(self, element: str) -> float:
        value, unit = self._service_level("latency", element)
        return self._scaled("latency", element, value, unit, SECONDS_PER_UNIT)

    def _service_level(self, name: str, element: str) -> tuple[object, str | None]:
        for prop in self._standard.slaProperties or ():
            if prop.property == name and prop.element == element:
                return prop.value, prop.unit
        raise self._error(f"slaProperties.{name}", f"is not stated for element {element}")

    def _scaled(
        self, name: str, element: str, value: object, unit: str | None, scale: Mapping[str, float]
    ) -> float:
        where = f"slaProperties.{name}({element})"
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise self._error(f"{where}.value", f"{value!r} is not a positive number")
        if unit is None or unit not in scale:
            raise self._error(f"{where}.unit", f"{unit!r} is not one of {sorted(scale)}")
        return value * scale[unit]

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

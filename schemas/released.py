"""What was released: the schemas and tables that producers, layers and readers go by.

``released.json`` keeps it beside the contracts, so that a change is held against it before it is
anywhere: not only against what happens to be in one lake. ``lakehouse schemas release`` writes it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources.abc import Traversable
from typing import Any, Self

from pyiceberg.transforms import parse_transform

from schemas.changes import ColumnState, IncompatibleChangeError, TableState, changes
from schemas.contract import Partitioning, TableContract
from schemas.registry import ContractRegistry
from schemas.types import type_of

FILE = "released.json"
# Stands among the fields of a schema for all that is not a field.
RECORD = "(record)"
REQUIRED = " required"
DIGEST_CHARACTERS = 12

# Digests by field, in the order of the schema.
Digests = Mapping[str, str]


@dataclass(frozen=True)
class Released:
    """The state of all contracts at a release.

    Attributes:
        versions: By subject and schema id, what the version's fields were.
        tables: By name; a speed twin follows its table.
    """

    versions: Mapping[str, Mapping[int, Digests]]
    tables: Mapping[str, TableState]

    @classmethod
    def now(cls, contracts: Mapping[str, TableContract], registry: ContractRegistry) -> Self:
        """Return the state that contracts are in."""
        topics = [topic for table in contracts.values() for topic in table.topics]
        return cls(
            versions={
                topic.subject: {
                    number: _digests(json.loads(registry.schema_for(number)))
                    for number in registry.ids(topic)
                }
                for topic in topics
                if topic.subject
            },
            tables={
                name: TableState.stated(table)
                for name, table in contracts.items()
                if table.batch_twin is None
            },
        )

    @classmethod
    def read(cls, folder: Traversable) -> Self:
        """Return what was released last; nothing if there is no such file."""
        file = folder / FILE
        return cls.parse(file.read_text(encoding="utf-8")) if file.is_file() else cls({}, {})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what the text of the file states."""
        stated = json.loads(text)
        return cls(
            versions={
                subject: {int(number): fields for number, fields in versions.items()}
                for subject, versions in stated["subjects"].items()
            },
            tables={name: _from_json(table) for name, table in stated["tables"].items()},
        )

    def to_json(self) -> str:
        """Return the text of the file."""
        tables = {name: _to_json(table) for name, table in sorted(self.tables.items())}
        stated = {"subjects": dict(sorted(self.versions.items())), "tables": tables}
        return json.dumps(stated, indent=1) + "\n"

    def broken_by(
        self, contracts: Mapping[str, TableContract], registry: ContractRegistry
    ) -> Iterator[str]:
        """Yield what contracts change that was released and must stay, with the field's name."""
        present = Released.now(contracts, registry)
        for subject, versions in self.versions.items():
            for number, fields in versions.items():
                now = present.versions.get(subject, {}).get(number)
                if now is None:
                    yield f"{subject}: id {number}: was released and is gone"
                elif edited := _edited(fields, now):
                    yield f"{subject}: id {number}: {edited}: was edited after its release"
        for name, state in self.tables.items():
            if name not in contracts:
                yield f"{name}: was released and has no contract any more"
                continue
            try:
                changes(contracts[name], state)
            except IncompatibleChangeError as error:
                yield str(error)

    def changed_by(self, contracts: Mapping[str, TableContract]) -> Iterator[str]:
        """Yield in words what contracts add to the released tables, or change as they may."""
        for name, table in contracts.items():
            if name in self.tables:
                for words in changes(table, self.tables[name]).in_words():
                    yield f"{name}: {words}"
            elif table.batch_twin is None:
                yield f"{name}: new"


def _digests(schema: Mapping[str, Any]) -> Digests:
    record = {key: value for key, value in schema.items() if key != "fields"}
    return {RECORD: _digest(record)} | {f["name"]: _digest(f) for f in schema["fields"]}


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]


def _edited(released: Digests, now: Digests) -> str:
    """Return the fields that are not what they were, or in another order."""
    fields = [name for name in {**released, **now} if released.get(name) != now.get(name)]
    if not fields and list(released) != list(now):
        fields = ["the order of its fields"]
    return ", ".join(fields)


def _to_json(table: TableState) -> dict[str, Any]:
    return {
        "columns": {
            name: f"{column.type}{REQUIRED if column.required else ''}"
            for name, column in table.columns.items()
        },
        "partitioning": [f"{part.column} {part.transform}" for part in table.partitioning],
        "sortOrder": list(table.sort_order),
        "primaryKey": sorted(table.key),
    }


def _from_json(stated: Mapping[str, Any]) -> TableState:
    parts = [part.split(" ") for part in stated["partitioning"]]
    partitioning = tuple(Partitioning(name, parse_transform(text)) for name, text in parts)
    return TableState(
        columns={
            name: ColumnState(type_of(text.removesuffix(REQUIRED)), text.endswith(REQUIRED))
            for name, text in stated["columns"].items()
        },
        partitioning=partitioning,
        partitioned_by=frozenset(part.column for part in partitioning),
        sort_order=tuple(stated["sortOrder"]),
        key=frozenset(stated["primaryKey"]),
    )

"""Contracts and Avro schemas to come: a copy of the real ones, changed as people change them."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import schemas
import serving.views

Document = dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """A folder of contracts and Avro schemas; the settings name it, as they would a team's own."""

    folder: Path

    @classmethod
    def copied_to(cls, folder: Path) -> "Draft":
        """Begin with the real ones."""
        for part in ("contracts", "avro"):
            shutil.copytree(Path(str(schemas.folder())) / part, folder / part)
        shutil.copy(Path(str(schemas.folder())) / "released.json", folder)
        return cls(folder)

    @contextmanager
    def table(self, name: str) -> Iterator[Document]:
        """Change the contract of a table: yields its table, as the document states it."""
        file = self.folder / "contracts" / f"{name}.yaml"
        document = yaml.safe_load(file.read_text())
        yield document["schema"][0]
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def add(self, table: str, column: str, physical: str, **custom: Any) -> None:
        """Add an optional column."""
        logical = {"int": "integer", "long": "integer", "string": "string"}
        with self.table(table) as stated:
            stated["properties"].append(
                {
                    "name": column,
                    "logicalType": logical.get(physical, "number"),
                    "physicalType": physical,
                    "description": "As the venue states it.",
                    "required": False,
                    "classification": "public",
                    "customProperties": _customs(custom),
                }
            )

    def change(self, table: str, column: str, **changes: Any) -> None:
        """Change a column's keys; its custom properties are those that the standard has not."""
        with self.table(table) as stated:
            found = next(prop for prop in stated["properties"] if prop["name"] == column)
            known = {
                *("name", "physicalType", "logicalType", "required", "description"),
                "transformSourceObjects",
            }
            custom = {key: value for key, value in changes.items() if key not in known}
            found |= {key: value for key, value in changes.items() if key in known}
            kept = [p for p in found.get("customProperties", []) if p["property"] not in custom]
            found["customProperties"] = kept + _customs(custom)

    def drop(self, table: str, column: str) -> None:
        """Drop a column, by all the names that it had."""
        with self.table(table) as stated:
            going = next(p for p in stated["properties"] if p["name"] == column)
            stated["properties"].remove(going)
            customs = stated["customProperties"]
            dropped = next((p for p in customs if p["property"] == "droppedColumns"), None)
            if dropped is None:
                customs.append(dropped := {"property": "droppedColumns", "value": []})
            dropped["value"] += [column, *_aliases(going)]

    def next_version(
        self, number: int, change: Callable[[dict[str, Document]], None], *, of: str
    ) -> None:
        """Give the topic that a bronze table lands another version of its schema.

        Args:
            number: The schema id.
            change: Changes the fields, by name, in place.
            of: The bronze table.
        """
        with self.table(of) as stated:
            topic = next(p for p in stated["customProperties"] if p["property"] == "topic")
            versions = topic["value"]["versions"]
            schema = json.loads((self.folder / "avro" / versions[-1]["file"]).read_text())
            fields = {field["name"]: field for field in schema["fields"]}
            change(fields)
            file = f"{topic['value']['name']}.v{len(versions) + 1}.avsc"
            schema["fields"] = list(fields.values())
            (self.folder / "avro" / file).write_text(json.dumps(schema))
            versions.append({"id": number, "file": file})

    def deploy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process go by the draft as it is now."""
        monkeypatch.setenv("LAKEHOUSE_SCHEMAS_FOLDER", str(self.folder))
        forget()


def forget() -> None:
    """Forget what a process reads once: contracts, and the views made of them."""
    schemas.contracts.cache_clear()
    serving.views.view_sql.cache_clear()


def optional(name: str, avro_type: Any) -> Document:
    """Return an optional field of an Avro record."""
    return {"name": name, "type": ["null", avro_type], "default": None}


def renamed(fields: dict[str, Document], old: str, new: str) -> None:
    """Give a field another name, by alias."""
    field = fields[old]
    field |= {"name": new, "aliases": [*field.get("aliases", []), old]}


def _aliases(column: Document) -> list[str]:
    customs = {p["property"]: p["value"] for p in column.get("customProperties", [])}
    names: list[str] = customs.get("aliases", [])
    return names


def _customs(named: dict[str, Any]) -> list[Document]:
    return [{"property": name, "value": value} for name, value in named.items()]

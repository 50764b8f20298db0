"""Contracts and Avro schemas, and the code that turns them into tables and subjects."""

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from lakehouse.settings import Settings
from schemas.contract import (
    Column,
    ContractError,
    FileColumn,
    FileDataset,
    SchemaVersion,
    TableContract,
    Topic,
)
from schemas.parsing import parse

__all__ = [
    "Column",
    "ContractError",
    "FileColumn",
    "FileDataset",
    "SchemaVersion",
    "TableContract",
    "Topic",
    "contract",
    "contracts",
    "file_datasets",
    "folder",
    "landed_topics",
    "load",
    "topics",
]


def load(folder: Traversable) -> dict[str, TableContract]:
    """Return the contracts of all ``*.yaml`` files in a folder, by table name.

    Raises:
        ContractError: A contract is wrong, a table, a topic or a schema id is stated twice, or a
            table is made of one that no contract states.
    """
    found: dict[str, TableContract] = {}
    stated: dict[str, str] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".yaml"):
            continue
        for table in parse(file.read_text(encoding="utf-8"), file.name):
            claims = [f"table {table.name}"]
            if table.files:
                claims.append(f"dataset {table.files.name}")
            for topic in table.topics:
                claims += [f"topic {topic.name}", *(f"schema id {v.id}" for v in topic.versions)]
            for claim in claims:
                if claim in stated:
                    raise ContractError(file.name, claim, f"is stated in {stated[claim]} already")
                stated[claim] = file.name
            found[table.name] = table
    _check_sources(found, stated)
    return found


def _check_sources(tables: Mapping[str, TableContract], stated: Mapping[str, str]) -> None:
    for name, table in tables.items():
        for source in table.sources:
            if source not in tables:
                problem = f"no contract states {source}"
                raise ContractError(stated[f"table {name}"], f"{name}.sources", problem)


def folder() -> Traversable:
    """Return where ``contracts``, ``avro`` and ``released.json`` are: here, unless settings say."""
    return Settings().schemas_folder or files(__name__)


@lru_cache
def contracts() -> MappingProxyType[str, TableContract]:
    """Return the contracts of this platform by table name, speed twins among them (cached)."""
    return MappingProxyType(load(folder() / "contracts"))


def contract(table: str) -> TableContract:
    """Return the contract of a table, such as ``silver.trades``.

    Raises:
        ContractError: There is no contract for it.
    """
    if table not in contracts():
        raise ContractError("schemas/contracts", table, "no contract states this table")
    return contracts()[table]


def file_datasets() -> dict[str, FileDataset]:
    """Return what can be dropped as files, by dataset."""
    return {table.files.name: table.files for table in contracts().values() if table.files}


def landed_topics() -> dict[str, str]:
    """Return the topics whose events are landed in bronze, each with its table."""
    return {
        topic.name: table.name
        for table in contracts().values()
        for topic in table.topics
        if topic.versions
    }


def topics() -> dict[str, Topic]:
    """Return the topics that the contracts state, by topic name."""
    return {topic.name: topic for table in contracts().values() for topic in table.topics}

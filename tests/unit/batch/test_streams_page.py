"""docs/streams.md says what the contracts and the datasets say."""

import math
import re
from pathlib import Path

import pytest

import schemas
from batch.activity import ACTIVITY
from batch.datasets import DATASETS
from batch.references import REFERENCES
from lakehouse.infra import CHECKOUT
from lakehouse.kafka import DEAD_LETTERS_TOPIC, EVENT_TOPICS

PAGE = CHECKOUT / "docs" / "streams.md"
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.read_text().splitlines()
    if len(cells := [cell.strip().strip("`") for cell in line.strip("|").split("|")]) == 9
}
FILES = {f"files.{name}": dataset.table for name, dataset in schemas.file_datasets().items()}
BRONZE = schemas.landed_topics() | FILES | {DEAD_LETTERS_TOPIC: "bronze.dead_letters"}


def named(cell: str) -> set[str]:
    return set(re.findall(r"[a-z]+\.\w+", cell))


def linked(cell: str) -> list[Path]:
    return [(PAGE.parent / target).resolve() for target in re.findall(r"\]\((.*?)\)", cell)]


def years(tables: set[str]) -> str:
    if not tables:
        return "none"
    (days,) = {schemas.contract(table).retention_days for table in tables}
    return "kept" if days is None else str(math.floor(days / 365))


def test_every_stream_has_its_row() -> None:
    assert set(ROWS) == {"stream", "---", *EVENT_TOPICS, *FILES, DEAD_LETTERS_TOPIC}


@pytest.mark.parametrize("stream", BRONZE)
def test_a_row_says_what_the_contracts_say(stream: str) -> None:
    key, contract, bronze, silver, gold, both, kept, owner = ROWS[stream]
    source, topic = schemas.contract(BRONZE[stream]), schemas.topics().get(stream)
    assert (bronze, owner) == (source.name, source.owner)
    assert key == ((topic.key or "none") if topic else "`, `".join(source.key))
    written = {table for one in DATASETS if one.topic == stream for table in one.tables}
    written |= {one.table for one in REFERENCES if one.source == bronze}
    # Fills write what is told of customers, too.
    assert written - {ACTIVITY} <= named(silver) | named(gold) <= written
    pairs = {pair.batch for one in DATASETS if one.topic == stream for pair in one.pairs}
    assert named(both) == pairs
    layers = ({bronze}, named(silver), named(gold))
    assert kept.split(", ") == [years(tables) for tables in layers]
    files = [f"contracts/{bronze}.yaml"]
    files += [f"avro/{version.file}" for version in topic.versions] if topic else []
    assert linked(contract) == [CHECKOUT / "schemas" / file for file in files]

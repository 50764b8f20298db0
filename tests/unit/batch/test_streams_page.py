"""docs/streams.md says what the contracts and the datasets say."""

import math
import re

import pytest

import schemas
from batch.datasets import DATASETS
from lakehouse.infra import CHECKOUT
from lakehouse.kafka import EVENT_TOPICS

PAGE = (CHECKOUT / "docs" / "streams.md").read_text()
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if len(cells := [cell.strip().strip("`") for cell in line.strip("|").split("|")]) == 8
}


def named(cell: str) -> set[str]:
    return set(re.findall(r"[a-z]+\.\w+", cell))


def years(tables: set[str]) -> str:
    (days,) = {schemas.contract(table).retention_days for table in tables}
    return "kept" if days is None else str(math.floor(days / 365))


def test_every_stream_has_its_row() -> None:
    assert set(ROWS) == {"topic", "---", *EVENT_TOPICS}


@pytest.mark.parametrize("topic", EVENT_TOPICS)
def test_a_row_says_what_the_contracts_say(topic: str) -> None:
    key, bronze, silver, gold, both, kept, owner = ROWS[topic]
    source = schemas.contract(schemas.landed_topics()[topic])
    assert (key, bronze, owner) == (schemas.topics()[topic].key, source.name, source.owner)
    written = {table for one in DATASETS if one.topic == topic for table in one.tables}
    assert named(silver) | named(gold) >= {table for table in written if "activity" not in table}
    for table in named(silver) | named(gold):
        assert schemas.contract(table)
    pairs = {pair.batch for one in DATASETS if one.topic == topic for pair in one.pairs}
    assert named(both) == pairs
    layers = ({bronze}, named(silver), named(gold))
    assert kept.split(", ") == [years(tables) for tables in layers]

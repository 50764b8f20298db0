"""What the runbook tells an operator to ask is valid SQL over the lake as it is."""

import re
from collections.abc import Iterator

import pytest

from lakehouse.catalog import load_catalog
from lakehouse.infra import INFRA
from lakehouse.settings import Settings
from schemas import tables
from serving.engine import SqlEngine

QUERIES = [
    pytest.param(query, id=f"{page.stem}: {query[:30]}")
    for page in sorted((INFRA.parent / "docs" / "runbook").glob("*.md"))
    for query in re.findall(r'lakehouse sql "([^"]+)"', page.read_text())
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlEngine]:
    catalog = load_catalog(Settings(home=tmp_path_factory.mktemp("runbook")))
    tables.apply(catalog)
    engine = SqlEngine(catalog)
    yield engine
    engine.close()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_runbook_runs(engine: SqlEngine, query: str) -> None:
    engine.query(query)


def test_there_are_some() -> None:
    assert len(QUERIES) >= 6

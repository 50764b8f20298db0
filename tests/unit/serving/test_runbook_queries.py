"""What the runbook tells an operator to ask is valid SQL over the lake as it is.

That Trino takes it too, from whom the page says, is in ``tests/stack/test_trino.py``.
"""

from collections.abc import Iterator

import pytest
from runbook_queries import RUNBOOK_QUERIES

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables
from serving.engine import SqlEngine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlEngine]:
    catalog = load_catalog(Settings(home=tmp_path_factory.mktemp("runbook")))
    tables.apply(catalog)
    engine = SqlEngine(catalog)
    yield engine
    engine.close()


@pytest.mark.parametrize(("query", "user"), RUNBOOK_QUERIES)
def test_a_query_of_the_runbook_runs(engine: SqlEngine, query: str, user: str) -> None:
    engine.query(query)
    # Trino's rules: nobody else may read what was landed.
    assert ("bronze." in query) == (user == "orchestration")


def test_there_are_some() -> None:
    assert len(RUNBOOK_QUERIES) >= 6

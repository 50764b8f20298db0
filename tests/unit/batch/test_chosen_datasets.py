"""What a run of batch works on, by the names that it is given."""

import pytest

import schemas
from batch.dataset import bronze_table
from batch.datasets import DATASETS, UnknownDatasetError
from batch.features.job import FEATURES, MADE_OF
from batch.references import REFERENCES, chosen_for_batch

TOPICS, FILES = [one.name for one in DATASETS], [one.name for one in REFERENCES]


@pytest.mark.parametrize(
    ("names", "of_topics", "of_files"),
    [
        (None, TOPICS, FILES),
        ([], TOPICS, FILES),
        (["fills", "trades"], ["trades", "fills"], []),
        (["eod_bars"], [], ["eod_bars"]),
        (["eod_bars", "fills"], ["fills"], ["eod_bars"]),
    ],
)
def test_datasets_of_topics_and_of_files(
    names: list[str] | None, of_topics: list[str], of_files: list[str]
) -> None:
    datasets, references = chosen_for_batch(names)
    assert [one.name for one in datasets] == of_topics
    assert [one.name for one in references] == of_files


def test_a_name_of_neither_is_refused() -> None:
    with pytest.raises(UnknownDatasetError, match="no dataset 'ticks'"):
        chosen_for_batch(["instruments", "ticks"])


def test_the_contracts_state_of_what_batch_makes_each_table() -> None:
    made = {(table, bronze_table(one)) for one in DATASETS for table in one.tables}
    made |= {(one.table, one.source) for one in REFERENCES}
    made |= {(FEATURES, bronze_table(one)) for one in DATASETS if one.name in MADE_OF}
    contracts = schemas.contracts().values()
    assert {(one.name, source) for one in contracts for source in one.sources} == made

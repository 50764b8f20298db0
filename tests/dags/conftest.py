"""The DAGs, to be asked."""

from collections.abc import Callable, Iterator

import pytest
from airflow_python import Dags


@pytest.fixture(scope="session")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Dags]]:
    """Start the Python that is asked, with an environment of its own."""
    started: list[Dags] = []

    def start(**environ: str) -> Dags:
        started.append(Dags(tmp_path_factory.mktemp("airflow"), **environ))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture(scope="session")
def dags(asking: Callable[..., Dags]) -> Dags:
    """The DAGs on a machine where it is not UTC, and where clocks are put forward and back."""
    return asking(TZ="Europe/Berlin")

"""A broker that a module's tests share, and a lake of each test's own on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from landing import make_topics_again

import schemas
from ingestion.lander.writer import DEAD_LETTERS_TABLE
from lakehouse.broker import PROCESS, start_broker
from lakehouse.catalog import load_catalog
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from schemas import tables


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(home=tmp_path_factory.mktemp("broker"))
    supervisor = Supervisor(settings.home)
    try:
        start_broker(settings, supervisor)
        yield settings.bootstrap_servers
    finally:
        supervisor.stop(PROCESS)


@pytest.fixture
def lake(broker: str, tmp_path: Path) -> Settings:
    """A home with empty bronze tables, and empty topics."""
    settings = Settings(home=tmp_path / "home", kafka_bootstrap=broker, lander_commit_seconds=0.05)
    bronze = (*schemas.landed_topics().values(), DEAD_LETTERS_TABLE)
    wanted = [schemas.contract(name) for name in bronze]
    tables.apply(load_catalog(settings), wanted)
    make_topics_again(settings)
    return settings

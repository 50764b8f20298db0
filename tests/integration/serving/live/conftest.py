"""One home for all tests of the live tier: a broker, topics and tables."""

from collections.abc import Iterator

import pytest
from embedded_lake import EmbeddedLake, embedded_lake

from lakehouse.settings import Settings


@pytest.fixture(scope="package")
def live_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLake]:
    with embedded_lake(Settings(home=tmp_path_factory.mktemp("live"))) as lake:
        yield lake

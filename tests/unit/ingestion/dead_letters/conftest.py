"""A lake that has dead letters and nothing else, and a broker to send them to."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables

if TYPE_CHECKING:
    from redriving import FakeKafka

# The tests of this folder import what lies beside them.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    """The dead letters and their audit trail, empty."""
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(n) for n in ("bronze.dead_letters", "ops.redrives")])
    return catalog


@pytest.fixture
def kafka() -> "FakeKafka":
    from redriving import FakeKafka

    return FakeKafka()

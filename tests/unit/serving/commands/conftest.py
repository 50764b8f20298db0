"""Commands on a home of one test's own, with a broker that a test can let fail."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.catalog_database import OwnTables
from lakehouse.settings import Settings
from schemas import tables
from serving.commands.tables import command_tables

if TYPE_CHECKING:
    from asked import Asking

# The tests of this folder import what lies beside them.
sys.path.insert(0, str(Path(__file__).parent))

TABLES = (
    "bronze.market_trades",
    "bronze.dead_letters",
    "silver.trades",
    "silver.trades_rt",
    "ops.commands",
    "ops.erasures",
)


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(name) for name in TABLES])
    return catalog


@pytest.fixture
def database(settings: Settings) -> Iterator[OwnTables]:
    database = command_tables(settings, budget_seconds=5)
    yield database
    database.close()


@pytest.fixture
def asking(settings: Settings, catalog: Catalog) -> Iterator["Asking"]:
    from asked import Asking

    asking = Asking(settings, catalog)
    yield asking
    asking.desk.close()

"""What silver's tables are to the live tier."""

import pytest
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables

NEEDED = ("silver.trades", "silver.fills", "ops.runs", "bronze.dead_letters")


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = load_catalog(settings)
    wanted = [schemas.contract(name) for name in NEEDED]
    twins = [schemas.contract(str(one.speed_twin)) for one in wanted if one.speed_twin]
    tables.apply(catalog, [*wanted, *twins])
    return catalog

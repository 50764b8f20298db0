"""A lake with features of a made-up market, and a home of MLflow, without any engine."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables

if TYPE_CHECKING:
    from serving.models.tracking import Tracking

# The tests of this folder import what lies beside them.
sys.path.insert(0, str(Path(__file__).parent))

TABLES = (
    "silver.trades",
    "gold.features_1m",
    "gold.predictions",
    "ops.runs",
    "ops.model_checks",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home that the tests of a module share: MLflow takes seconds to make its tables."""
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def lake(home: Settings) -> Catalog:
    from made_market import market, tape

    catalog = load_catalog(home)
    tables.apply(catalog, [schemas.contract(name) for name in TABLES])
    catalog.load_table("gold.features_1m").append(market(1))
    catalog.load_table("silver.trades").append(tape(1))
    return catalog


@pytest.fixture(scope="module")
def tracking(home: Settings) -> Iterator["Tracking"]:
    from serving.models.tracking import Tracking

    with pytest.MonkeyPatch.context() as patch:
        for name in ("USERNAME", "PASSWORD", "SERVER_CERT_PATH"):
            patch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
        yield Tracking(home)

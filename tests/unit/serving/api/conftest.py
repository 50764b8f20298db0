"""The API over a lake of a few rows, called without a network; a module shares a lake."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import DATASETS, ApiKeys
from serving.engines import Engine, sql_engine

if TYPE_CHECKING:
    from served_rows import Lake

    from serving.models.tracking import Tracking

# The tests of this folder import what lies beside them.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    # Tests ask more often than people do.
    return Settings(
        home=tmp_path_factory.mktemp("api") / "home",
        api_requests_at_once=10_000,
        api_requests_per_second=10_000,
    )


@pytest.fixture(scope="module")
def lake(settings: Settings) -> "Lake":
    from served_rows import Lake, fill

    lake = Lake(load_catalog(settings))
    fill(lake)
    return lake


@pytest.fixture(scope="module")
def keys(settings: Settings, lake: "Lake") -> Iterator[ApiKeys]:
    keys = ApiKeys.of(settings)
    yield keys
    keys.close()


@pytest.fixture(scope="module")
def sql(settings: Settings, lake: "Lake") -> Iterator[Engine]:
    engine = sql_engine(settings, at_once=2)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def api(settings: Settings, sql: Engine, keys: ApiKeys) -> FastAPI:
    return create_app(settings, Gate(sql, at_once=2), keys)


@pytest.fixture(scope="module")
def tracking(settings: Settings) -> Iterator["Tracking"]:
    """A registry without a model: MLflow takes seconds to make its tables."""
    from serving.models.tracking import Tracking

    with pytest.MonkeyPatch.context() as patch:
        for name in ("TIMEOUT", "MAX_RETRIES"):  # set for good by who scores first
            patch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "1")
        yield Tracking(settings)


@pytest.fixture(scope="module")
def champion(tracking: "Tracking") -> int:
    """Version of a champion that says again what one column says."""
    from championed import promoted

    return promoted(tracking, "ewma_volatility_15m")


@pytest.fixture(scope="module")
def everything(keys: ApiKeys) -> str:
    """A key that reaches all that there is."""
    return keys.create("everything", role="operator", datasets=DATASETS)


@pytest.fixture(scope="module")
def client(api: FastAPI, everything: str) -> Iterator[TestClient]:
    from calling import client_of

    with client_of(api, everything) as client:
        yield client


@pytest.fixture
def now() -> Callable[[], str]:
    """Tell the time in a millisecond that is over: snapshots know no finer time."""

    def now() -> str:
        asked = datetime.now(UTC)
        while (later := datetime.now(UTC)) < asked + timedelta(milliseconds=2):
            pass
        return later.isoformat().replace("+00:00", "Z")

    return now

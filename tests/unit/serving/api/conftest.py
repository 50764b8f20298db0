"""The API over a lake of a few rows, called without a network."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from pyiceberg.catalog import Catalog
from starlette.testclient import TestClient

import schemas
from lakehouse.settings import Settings
from schemas import tables
from serving.api.app import create_app
from serving.api.keys import DATASETS, ApiKeys
from serving.engines import Engine, sql_engine

Row = dict[str, Any]
MORE_TABLES = ("ops.reconciliations", "bronze.dead_letters")


@pytest.fixture
def keys(settings: Settings, catalog: Catalog) -> Iterator[ApiKeys]:
    keys = ApiKeys.of(settings)
    yield keys
    keys.close()


@pytest.fixture
def sql(settings: Settings, catalog: Catalog) -> Iterator[Engine]:
    tables.apply(catalog, [schemas.contract(name) for name in MORE_TABLES])
    engine = sql_engine(settings, at_once=2)
    yield engine
    engine.close()


@pytest.fixture
def api(settings: Settings, sql: Engine, keys: ApiKeys) -> FastAPI:
    return create_app(settings, sql, keys)


@pytest.fixture
def client(api: FastAPI, keys: ApiKeys) -> Iterator[TestClient]:
    """Calls the API with a key that reaches everything."""
    everything = keys.create("everything", role="operator", datasets=DATASETS)
    headers = {"Authorization": f"Bearer {everything}"}
    with TestClient(api, headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def bars(append: Callable[[str, Iterable[Row]], None], bar: Callable[..., Row]) -> list[Row]:
    """Eight bars of two instruments: of each, batch has made three minutes and speed the last."""
    made = []
    for place, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        batch = [bar(minute, last_offset=10 * place + minute, symbol=symbol) for minute in range(3)]
        speed = [bar(minute, last_offset=50 + place, symbol=symbol) for minute in range(3, 4)]
        append("gold.bars_1m", batch)
        append("gold.bars_1m_rt", speed)
        made += batch + speed
    return made


@pytest.fixture
def now() -> Callable[[], str]:
    """Tell the time in a millisecond that is over: snapshots know no finer time."""

    def now() -> str:
        asked = datetime.now(UTC)
        while (later := datetime.now(UTC)) < asked + timedelta(milliseconds=2):
            pass
        return later.isoformat().replace("+00:00", "Z")

    return now

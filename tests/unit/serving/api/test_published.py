"""What rows that batch has made say of the events that they do not show."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from calling import client_of
from served_rows import Lake, Row, row_of
from starlette.testclient import TestClient

import schemas
from lakehouse.settings import Settings
from schemas import tables
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.engines import Engine

pytestmark = pytest.mark.serving

HOUR = timedelta(hours=1)
RECONCILED = {"tier": "reconciled"}


@pytest.fixture
def caller(settings: Settings, sql: Engine, keys: ApiKeys, everything: str) -> Iterator[TestClient]:
    """Of an API that has asked nothing yet."""
    with client_of(create_app(settings, Gate(sql, at_once=2), keys), everything) as caller:
        yield caller


def freshness(caller: TestClient, path: str, **asked: str) -> Any:
    answer = caller.get(f"/v1/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["meta"]["freshness_seconds"]


def run_of(source: str, end: datetime, *, kind: str = "batch") -> Row:
    return row_of(
        "ops.runs",
        run_id=f"{source} {end}",
        kind=kind,
        dataset=source.rpartition("_")[2],
        interval_start=end - HOUR,
        interval_end=end,
        status="PUBLISHED",
        business_hours="[]",
        snapshots=json.dumps({source: 1}),
        started_at=end,
        recorded_at=end,
    )


# In this order: the lake is the module's, and has no log of runs until somebody writes it.
def test_without_a_log_of_runs_nothing_is_claimed(caller: TestClient) -> None:
    assert freshness(caller, "bars", **RECONCILED) is None
    assert freshness(caller, "instruments") is None


def test_what_batch_alone_has_made_is_as_old_as_the_end_of_what_it_published(
    caller: TestClient, lake: Lake, now: Callable[[], str]
) -> None:
    tables.apply(lake.catalog, [schemas.contract("ops.runs")])
    trades, quotes, files = (datetime.now(UTC) - hours * HOUR for hours in (2, 3, 4))
    lake.append(
        "ops.runs",
        [
            run_of("bronze.market_trades", trades),
            run_of("bronze.market_quotes", quotes),
            run_of("bronze.files_instruments", files, kind="reference"),
        ],
    )
    assert freshness(caller, "bars", **RECONCILED) == pytest.approx(7200, abs=60)
    assert freshness(caller, "bars", interval="1h", **RECONCILED) == pytest.approx(7200, abs=60)
    assert freshness(caller, "spreads", **RECONCILED) == pytest.approx(10_800, abs=60)
    assert freshness(caller, "instruments") == pytest.approx(14_400, abs=60)
    # Reference data beside the bars are as they are.
    assert freshness(caller, "market/daily", **RECONCILED) == pytest.approx(7200, abs=60)
    # Fills were never published, and a position is made of those and of trades.
    assert freshness(caller, "positions/C-1", **RECONCILED) is None
    # Speed has its part in these; models, people and the lander make the others.
    for path in ("bars", "trades", "predictions", "reconciliations", "dead-letters"):
        assert freshness(caller, path) is None
    assert freshness(caller, "bars", as_of=now(), **RECONCILED) is None

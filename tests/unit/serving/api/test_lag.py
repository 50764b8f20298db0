"""How far bronze is behind the log, over HTTP."""

from collections.abc import Iterable

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api import lag
from serving.api.keys import ApiKeys
from serving.exporter import families
from serving.exporter.families import Reading
from serving.exporter.lake import Round

pytestmark = pytest.mark.serving


def test_lag_is_told_in_events_and_in_time(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def landed(_: Round) -> Iterable[Reading]:
        yield Reading(families.LOG_END, ("market.trades", "0"), 42)
        yield Reading(families.TABLE_LAG, ("bronze.market_trades", "market.trades"), 7)
        yield Reading(families.FRESHNESS, ("bronze.market_trades",), 0.0, is_moment=True)
        yield Reading(families.TABLE_LAG, ("bronze.market_quotes", "market.quotes"), 0)
        yield Reading(families.FRESHNESS, ("bronze.market_quotes",), 0)

    monkeypatch.setattr(lag, "landed", landed)
    behind, fresh = client.get("/v1/lag").json()["data"]
    assert behind.pop("freshness_seconds") > 1e9
    assert behind == {"table": "bronze.market_trades", "topic": "market.trades", "events": 7}
    assert fresh["freshness_seconds"] == 0


def test_a_log_that_is_away_is_a_problem_that_passes(client: TestClient) -> None:
    answer = client.get("/v1/lag")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "no Kafka broker is known" in answer.json()["detail"]


def test_lag_is_for_keys_that_reach_operations(api: FastAPI, keys: ApiKeys) -> None:
    market = {"Authorization": f"Bearer {keys.create('analyst', datasets=['market'])}"}
    with TestClient(api) as anybody:
        assert anybody.get("/v1/lag").status_code == 401
        assert anybody.get("/v1/lag", headers=market).status_code == 403

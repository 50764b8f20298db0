"""How far bronze is behind the log, over HTTP."""

import time
from collections.abc import Iterable
from functools import partial

import pytest
from starlette.testclient import TestClient

from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from serving.api import lag
from serving.api.lag import LogAndLake
from serving.exporter import families
from serving.exporter.families import Reading
from serving.exporter.lake import Round

pytestmark = pytest.mark.serving


def test_lag_is_told_in_events_and_in_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def landed(_: Round) -> Iterable[Reading]:
        yield Reading(families.LOG_END, ("market.trades", "0"), 42)
        yield Reading(families.TABLE_LAG, ("bronze.market_trades", "market.trades"), 7)
        yield Reading(families.FRESHNESS, ("bronze.market_trades",), 0.0, is_moment=True)
        yield Reading(families.TABLE_LAG, ("bronze.market_quotes", "market.quotes"), 0)
        yield Reading(families.FRESHNESS, ("bronze.market_quotes",), 0)

    monkeypatch.setattr(lag, "landed", landed)
    behind, fresh = LogAndLake(settings, partial(load_catalog, settings)).lags()
    assert (behind.table, behind.topic, behind.events) == (
        "bronze.market_trades",
        "market.trades",
        7,
    )
    assert behind.freshness_seconds == pytest.approx(time.time(), abs=60)
    assert fresh.freshness_seconds == 0


def test_a_log_that_is_away_is_asked_once_for_all_who_ask(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def landed(_: Round) -> Iterable[Reading]:
        asked.append(1)
        raise ConnectionError("refused")

    monkeypatch.setattr(lag, "landed", landed)
    ends = LogAndLake(settings, partial(load_catalog, settings))
    for _ in range(3):
        with pytest.raises(ConnectionError, match="refused"):
            ends.lags()
    assert len(asked) == 1


def test_a_log_that_is_away_is_a_problem_that_passes(
    client: TestClient, settings: Settings
) -> None:
    answer = client.get("/v1/lag")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert str(settings.home) not in answer.text

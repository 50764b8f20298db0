"""Scoring over HTTP: by the champion of a registry of MLflow's, and where there is none."""

import builtins
from datetime import timedelta, timezone
from decimal import Decimal
from threading import Event
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from calling import client_of
from championed import MODEL, ROW, promoted
from fastapi import FastAPI
from running import running
from served_rows import MINUTE, NOON, Lake, row_of
from starlette.testclient import TestClient

from lakehouse.settings import Settings
from serving.api import champions, scoring
from serving.api.app import create_app
from serving.api.gate import Gate
from serving.api.keys import ApiKeys
from serving.client import ApiError, Client
from serving.engines import Engine

if TYPE_CHECKING:
    from serving.models.tracking import Tracking

pytestmark = pytest.mark.serving

PATH = "/v1/predictions:score"
SECOND = timedelta(seconds=1)
INSTRUMENT = {"venue": "binance_spot", "symbol": "BTCUSDT"}
TRADE = {
    "trade_id": 1,
    "event_time": "2024-08-08T12:00:00Z",
    "reported_price": "61699.20000000",
    "reported_quantity": "0.00100000",
}


def test_without_a_champion_it_says_what_to_do(tracking: "Tracking", client: TestClient) -> None:
    problem = client.post(PATH, json={"rows": [ROW]})
    assert (problem.status_code, problem.json()["type"]) == (404, "/problems/no-champion")
    assert "lakehouse models promote" in problem.json()["detail"]


def test_rows_are_scored_by_the_champion(champion: int, client: TestClient) -> None:
    named = {"venue": "binance_spot", "symbol": "BTCUSDT", "known_at": "2024-08-09T00:01:00Z"}
    answer = client.post(PATH, json={"rows": [ROW | named, ROW | {"ewma_volatility_15m": 1}]})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["model"], told["version"], told["degraded"]) == (MODEL, champion, None)
    first, second = told["data"]
    assert first == named | {"window_start": None, "trade_id": None, "value": 0.0004}
    assert second["value"] == 1.0


def test_an_instruments_newest_minute_is_scored(
    champion: int, client: TestClient, lake: Lake
) -> None:
    rows = [
        row_of("gold.features_1m", window_start=at, known_at=at + MINUTE, **ROW | {level: value})
        for at, level, value in (
            (NOON + MINUTE, "ewma_volatility_15m", 0.0007),
            (NOON, "ewma_volatility_15m", 0.0001),
        )
    ]
    lake.append("gold.features_1m", rows)
    answer = client.post(PATH, json={"venue": "binance_spot", "symbol": "BTCUSDT"})
    assert answer.status_code == 200, answer.text
    (told,) = answer.json()["data"]
    assert told["value"] == 0.0007
    assert told["known_at"] == "2024-08-08T12:02:00Z"
    problem = client.post(PATH, json={"venue": "binance_spot", "symbol": "NONE"})
    assert (problem.status_code, problem.json()["type"]) == (404, "/problems/no-features")


@pytest.fixture(scope="module")
def champion_of_trades(tracking: "Tracking") -> int:
    from championed import promoted_of_trades

    return promoted_of_trades(tracking)


def a_trade(number: int, price: str = "100.00") -> dict[str, Any]:
    at = NOON + number * SECOND
    zone = timezone(timedelta(hours=number % 3))
    return {
        "trade_id": number,
        "event_time": at.astimezone(zone).isoformat(),
        "reported_price": Decimal(price) + Decimal(number % 3) / 100,
        "reported_quantity": Decimal(1 + number % 5),
    }


def test_trades_are_scored_by_the_features_that_batch_makes(
    champion_of_trades: int, tracking: "Tracking", api: FastAPI, everything: str
) -> None:
    from serving.models.scoring import Scorer
    from serving.models.trades import FEWEST, trade_features

    trades = [*map(a_trade, range(FEWEST + 9)), a_trade(FEWEST + 9, "101.00")]
    with running(api) as address, Client(address, everything, tries=1) as remote:
        said = remote.score_trades("binance_spot", "BTCUSDT", trades[::-1])
    assert (said.model, said.version) == ("anomalous_trades", champion_of_trades)
    assert [row["trade_id"] for row in said.data] == list(range(FEWEST + 10))
    values = [row["value"] for row in said.data]
    assert values[:FEWEST] == [None] * FEWEST
    assert max(values[FEWEST:]) == values[-1]
    frame = pd.DataFrame.from_records(
        [trade | {"venue": "binance_spot", "symbol": "BTCUSDT"} for trade in trades]
    ).assign(event_time=[NOON + number * SECOND for number in range(len(trades))])
    scorer = Scorer(tracking, "anomalous_trades")
    assert values[FEWEST:] == scorer.values(trade_features(frame)[FEWEST:])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"rows": []}, "rows"),
        ({"rows": [ROW | {"ewma_volatility_15m": None}]}, "row 0 states no"),
        ({"rows": [ROW | {"ewma_volatility_15m": "0.1"}]}, "ewma_volatility_15m"),
        ({"rows": [ROW | {"spread_bps": 1e300}]}, "spread_bps"),
        ({"rows": [ROW | {"colour": 1}]}, "colour"),
        ({"rows": [ROW] * (scoring.MOST_ROWS + 1)}, "rows"),
        ({"venue": "binance_spot"}, "symbol"),
        (INSTRUMENT | {"trades": []}, "trades"),
        (INSTRUMENT | {"trades": [TRADE | {"reported_price": "0"}]}, "reported_price"),
        (INSTRUMENT | {"trades": [TRADE | {"price": "1"}]}, "price"),
        (INSTRUMENT | {"trades": [TRADE | {"event_time": "2024-08-08T12:00:00"}]}, "event_time"),
        (INSTRUMENT | {"trades": [TRADE] * (scoring.MOST_TRADES + 1)}, "trades"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    champion: int, client: TestClient, body: dict[str, Any], told: str
) -> None:
    problem = client.post(PATH, json=body)
    assert problem.status_code == 422, problem.text
    assert told in problem.json()["detail"]


def test_the_most_rows_fit_the_largest_body(champion: int, client: TestClient) -> None:
    from serving.models.features import INPUTS

    named = {"venue": "v" * 64, "symbol": "S" * 64, "known_at": "2024-08-09T00:01:00.000000Z"}
    row = named | {"window_start": named["known_at"]} | dict.fromkeys(INPUTS, 0.00012345678901)
    answer = client.post(PATH, json={"rows": [row] * scoring.MOST_ROWS})
    assert answer.status_code == 200, answer.text


def test_the_most_trades_fit_the_largest_body(champion_of_trades: int, client: TestClient) -> None:
    longest = {"reported_price": "1234567890.12345678", "reported_quantity": "1234567890.12345678"}
    time = {"trade_id": 2**63 - 1, "event_time": "2024-08-08T12:00:00.000000+00:00"}
    trade = TRADE | time | longest
    body = {"venue": "v" * 64, "symbol": "S" * 64, "trades": [trade] * scoring.MOST_TRADES}
    answer = client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text


def test_a_new_champion_takes_over_and_an_old_one_holds_while_the_registry_is_away(
    settings: Settings,
    tracking: "Tracking",
    champion: int,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def said() -> tuple[int, float]:
        told = client.post(PATH, json={"rows": [ROW]}).json()
        return told["version"], told["data"][0]["value"]

    assert said() == (champion, 0.0004)
    newer = promoted(tracking, "realised_volatility_1m")
    assert said() == (champion, 0.0004)  # it is looked for by the minute
    monkeypatch.setattr(champions, "REFRESH_SECONDS", 0.0)
    home = settings.home / "mlflow"
    home.rename(home.with_name("away"))
    home.touch()
    try:
        assert said() == (champion, 0.0004)
    finally:
        home.unlink()
        home.with_name("away").rename(home)
    assert said() == (newer, 0.0003)


def test_others_are_answered_while_a_model_thinks(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    thinks = Event()
    monkeypatch.setattr(champions.Champions, "of_minutes", lambda *_: thinks.wait(60))
    problem = client.post(PATH, json={"rows": [ROW]}, headers={"X-Deadline-Ms": "50"})
    assert problem.status_code == 504
    assert client.get("/v1/predictions").status_code == 200
    thinks.set()


def test_without_the_extra_all_else_goes_on(
    settings: Settings,
    sql: Engine,
    keys: ApiKeys,
    everything: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imported = builtins.__import__

    def without_models(name: str, *rest: Any) -> Any:
        if name.startswith("serving.models"):
            raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_models)
    bare = client_of(create_app(settings, Gate(sql, at_once=2), keys), everything)
    problem = bare.post(PATH, json={"rows": [ROW]})
    assert (problem.status_code, problem.json()["type"]) == (501, "/problems/no-models")
    assert bare.get("/v1/predictions").status_code == 200


def test_the_client_scores_and_reads_predictions(
    champion: int, api: FastAPI, everything: str
) -> None:
    with running(api) as address, Client(address, everything, tries=1) as remote:
        scores = remote.score([{"symbol": "ETHUSDT", "known_at": NOON, **ROW}])
        assert (scores.model, scores.data[0]["symbol"]) == (MODEL, "ETHUSDT")
        with pytest.raises(ApiError, match="404"):
            remote.score_newest("binance_spot", "NONE")
        assert remote.predictions(symbol="BTCUSDT").table["model"].to_pylist() == ["some"]
        assert remote.predictions(model="none").table.num_rows == 0

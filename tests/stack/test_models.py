"""Models on the real stack: MLflow's server as roles know it, and a champion as programs ask it."""

import json
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from pydantic import SecretStr
from stack.running import RunningStack

from lakehouse.settings import Settings
from serving.client import Client
from serving.models.estimators import LastKnown
from serving.models.names import Model
from serving.models.tracking import CHAMPION, Tracking, Trained
from serving.models.trades import FEWEST

# Alone it sends all streams first, and lets batch confirm them.
pytestmark = [pytest.mark.stack, pytest.mark.serving, pytest.mark.timeout(1200)]

MODEL = "a_model_of_the_tests"
INPUTS = pd.DataFrame({"ewma_volatility_15m": [0.1, 0.2, 0.3]})
TRAINED = Trained(
    "naive", LastKnown("ewma_volatility_15m"), INPUTS, {"of": 1}, {"rmse_bps": 2.0}, {"a": "b"}
)
ANOMALIES = ("--model", Model.ANOMALIES.value)
# The last two minutes of what `streams` sends.
WINDOW = ("--window-start", "2024-08-09T00:18", "--window-end", "2024-08-09T00:20")
STREAMS = {
    "start": datetime(2024, 8, 9, 0, 15, tzinfo=UTC),
    "end": datetime(2024, 8, 9, 0, 20, tzinfo=UTC),
}
BITCOIN = {"venue": "binance_spot", "symbol": "BTCUSDT"}


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client takes from the environment who it is."""
    for name in (
        *("TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_SERVER_CERT_PATH"),
        *("ENABLE_PROXY_MULTIPART_DOWNLOAD", "ENABLE_PROXY_MULTIPART_UPLOAD"),
        "SUPPRESS_PRINTING_URL_TO_STDOUT",
    ):
        monkeypatch.setenv(f"MLFLOW_{name}", "")


@pytest.fixture(scope="module")
def scored(stack: RunningStack, confirmed: tuple[str, ...]) -> dict[str, Any]:
    """What scoring says of itself, after a model was trained and is champion, all by commands."""

    def models(*words: str) -> dict[str, Any]:
        return dict(json.loads(stack.run("models", *words, *ANOMALIES, "--json")))

    stack.run("features", *confirmed, deadline_seconds=600)
    trained = models("train", *WINDOW)
    verdict = models("promote")
    assert verdict["challenger"] == trained["scores"][0]["version"]
    found = models("score", *confirmed)
    # Of a stack that is kept, the model of an earlier run is as good, and stays.
    assert found["version"] == verdict["challenger" if verdict["promoted"] else "champion"]
    return found


def test_what_batch_registers_is_loaded_by_whoever_serves(stack: RunningStack) -> None:
    check_roles(stack.role("batch"), stack.role("serving"))


def check_roles(batch: Settings, serving: Settings) -> None:
    """Register as one role and load as the other, which may not register itself."""
    trainer = Tracking(batch)
    version = trainer.register(MODEL, TRAINED)
    trainer.point(MODEL, CHAMPION, version)
    server = Tracking(serving)
    champion = server.version(MODEL, CHAMPION)
    assert int(champion.version) == version
    assert server.load(champion).predict(INPUTS).tolist() == [0.1, 0.2, 0.3]
    assert server.reference_of(champion)["ewma_volatility_15m"].tolist() != []
    with pytest.raises(MlflowException, match="Permission denied"):
        server.point(MODEL, CHAMPION, version)
    stranger = serving.model_copy(update={"mlflow_password": SecretStr("guessed-guessed")})
    with pytest.raises(MlflowException, match="401"):
        Tracking(stranger).find(MODEL, CHAMPION)


def test_predictions_of_a_trained_model_are_served(
    stack: RunningStack, scored: dict[str, Any], client: Client
) -> None:
    columns = "venue, symbol, window_start, trade_id, version, value"
    written = stack.rows(
        f"SELECT {columns} FROM gold.predictions WHERE model = '{Model.ANOMALIES}' "
        "ORDER BY venue, symbol, window_start, version"
    )
    served = client.predictions(model=Model.ANOMALIES.value).table
    assert served.select(columns.split(", ")).to_pylist() == written
    minutes = {row["window_start"] for row in written if row["version"] == scored["version"]}
    assert {STREAMS["end"].replace(minute=minute) for minute in (18, 19)} <= minutes


def test_trades_are_scored_at_once(scored: dict[str, Any], client: Client) -> None:
    columns = ["trade_id", "event_time", "reported_price", "reported_quantity"]
    trades = client.trades(**BITCOIN, **STREAMS).table.select(columns).to_pylist()
    said = client.score_trades(**BITCOIN, trades=trades)
    assert (said.model, said.version) == (Model.ANOMALIES, scored["version"])
    assert [one["trade_id"] for one in said.data] == [trade["trade_id"] for trade in trades]
    values = [one["value"] for one in said.data]
    assert set(values[:FEWEST]) == {None}
    assert None not in values[FEWEST:]
    assert len(set(values[FEWEST:])) > 1


def test_an_instruments_newest_minute_is_scored_at_once(
    stack: RunningStack, scored: dict[str, Any], client: Client
) -> None:
    """By a champion that says what it is given: so the features are those that batch published."""
    trainer, model = Tracking(stack.role("batch")), Model.VOLATILITY.value
    trainer.point(model, CHAMPION, version := trainer.register(model, TRAINED))
    (newest,) = stack.rows(
        "SELECT ewma_volatility_15m AS value, window_start FROM gold.features_1m WHERE "
        "venue = 'binance_spot' AND symbol = 'BTCUSDT' ORDER BY window_start DESC LIMIT 1"
    )
    said = client.score_newest(**BITCOIN)
    (row,) = said.data
    assert (said.model, said.version, said.degraded) == (model, version, None)
    assert datetime.fromisoformat(row["window_start"]) == newest["window_start"]
    assert row["value"] == pytest.approx(newest["value"])

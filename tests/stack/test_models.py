"""MLflow's server as roles know it: batch registers models, whoever serves loads them."""

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from pydantic import SecretStr
from stack.running import RunningStack

from lakehouse.settings import Settings
from serving.models.estimators import LastKnown
from serving.models.tracking import CHAMPION, Tracking, Trained

pytestmark = [pytest.mark.stack, pytest.mark.serving, pytest.mark.timeout(120)]

MODEL = "a_model_of_the_tests"
INPUTS = pd.DataFrame({"ewma_volatility_15m": [0.1, 0.2, 0.3]})
TRAINED = Trained("naive", LastKnown(), INPUTS, {"of": 1}, {"rmse_bps": 2.0}, {"a": "b"})


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client takes from the environment who it is."""
    for name in (
        *("TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_SERVER_CERT_PATH"),
        *("ENABLE_PROXY_MULTIPART_DOWNLOAD", "ENABLE_PROXY_MULTIPART_UPLOAD"),
    ):
        monkeypatch.setenv(f"MLFLOW_{name}", "")


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

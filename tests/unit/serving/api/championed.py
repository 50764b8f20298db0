"""Models that are champions without having learnt anything."""

import numpy as np
import pandas as pd

from serving.models.estimators import LastKnown, RobustZScore
from serving.models.names import Model
from serving.models.tracking import CHAMPION, Tracking, Trained
from serving.models.trades import TRADE_INPUTS

MODEL = "next_minute_volatility"
ROW = {"realised_volatility_1m": 0.0003, "ewma_volatility_15m": 0.0004, "spread_bps": None}


def promoted(tracking: Tracking, column: str) -> int:
    """Register a model that says again what a column says, as champion; return its version."""
    inputs = pd.DataFrame([ROW | {"spread_bps": 1.0}] * 3)
    estimator = LastKnown(column).fit(inputs, inputs["ewma_volatility_15m"].to_numpy())
    return _champion(tracking, MODEL, Trained(column, estimator, inputs, {}, {}, {}))


def promoted_of_trades(tracking: Tracking) -> int:
    """Register a model that says by how much a trade deviates, as champion; return its version."""
    inputs = pd.DataFrame(np.random.default_rng(1).normal(size=(50, 3)), columns=[*TRADE_INPUTS])
    estimator = RobustZScore().fit(inputs, np.zeros(50))
    trained = Trained("robust_zscore", estimator, inputs, {}, {}, {})
    return _champion(tracking, Model.ANOMALIES, trained)


def _champion(tracking: Tracking, model: str, trained: Trained) -> int:
    version = tracking.register(model, trained)
    tracking.point(model, CHAMPION, version)
    return version

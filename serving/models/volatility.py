"""The task of predicting the next minute's volatility: its examples, candidates and measures."""

import pandas as pd
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from serving.models.estimators import BoostedVolatility, Floats, LastKnown
from serving.models.features import BASIS_POINTS, KEY, MINUTE, MINUTES, TARGET
from serving.models.names import Model
from serving.models.pictures import out_of_time
from serving.models.task import Task

VOLATILITY = Model.VOLATILITY.value


def examples_of(features: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of features that have a volatility, and whose next minute has one."""
    following = features[[*KEY, "realised_volatility_1m"]].rename(
        columns={"realised_volatility_1m": TARGET}
    )
    following["window_start"] -= MINUTE
    rows = features.merge(following, on=KEY, how="inner")
    known = rows[[*MINUTES.required, TARGET]].notna().all(axis=1)
    return rows[known].reset_index(drop=True)


def measured(target: Floats, predicted: Floats) -> dict[str, float]:
    """Return the errors of predictions, in basis points of the price."""
    errors = {
        "rmse_bps": root_mean_squared_error(target, predicted),
        "mae_bps": mean_absolute_error(target, predicted),
    }
    return {name: float(error) * BASIS_POINTS for name, error in errors.items()}


NEXT_VOLATILITY = Task(
    model=VOLATILITY,
    source=MINUTES,
    examples=examples_of,
    candidates={
        "last_minute": lambda: LastKnown("realised_volatility_1m"),
        "ewma": lambda: LastKnown("ewma_volatility_15m"),
        "gradient_boosting": BoostedVolatility,
    },
    naive="ewma",
    measured=measured,
    # The error that is squared suits volatility, of which only a noisy measurement is ever seen:
    # A. Patton, "Volatility forecast comparison using imperfect volatility proxies", 2011.
    deciding="rmse_bps",
    loss=lambda error: error**2,
    draw=out_of_time,
    # Markets change: what is older tells less of tomorrow.
    days=30,
    horizon=MINUTE,
)

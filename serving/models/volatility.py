"""The task of predicting the next minute's volatility: its examples, candidates and measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from lakehouse.intervals import Interval
from serving.models.estimators import BoostedVolatility, Floats, LastKnown
from serving.models.features import KEY, NoFeaturesError, inputs_of

VOLATILITY = "next_minute_volatility"
TARGET = "next_volatility"
# What decides; the error that is squared suits volatility, of which only a noisy measurement is
# ever seen: A. Patton, "Volatility forecast comparison using imperfect volatility proxies", 2011.
DECIDING = "rmse_bps"
BASIS_POINTS = 10_000
MINUTE = timedelta(minutes=1)
# Of the time that there are examples of, the last part is kept out of training.
HELD_OUT = 0.3

CANDIDATES: Mapping[str, Callable[[], Any]] = {
    "last_minute": lambda: LastKnown("realised_volatility_1m"),
    "ewma": lambda: LastKnown("ewma_volatility_15m"),
    "gradient_boosting": BoostedVolatility,
}
NAIVE = "ewma"


@dataclass(frozen=True)
class Examples:
    """Rows of features whose next minute is known, with what became of it."""

    rows: pd.DataFrame

    @property
    def inputs(self) -> pd.DataFrame:
        """What a model is given."""
        return inputs_of(self.rows)

    @property
    def target(self) -> Floats:
        """What it is to say."""
        target: Floats = self.rows[TARGET].to_numpy(np.float64)
        return target

    def known_before(self, time: datetime) -> "Examples":
        """Return those of which all, the next minute included, was known before a time."""
        return Examples(self.rows[self.rows["known_at"] + MINUTE <= time])

    def predicted_in(self, window: Interval) -> "Examples":
        """Return those that are predicted and become known within a window."""
        known_at = self.rows["known_at"]
        return Examples(self.rows[(known_at >= window.start) & (known_at + MINUTE <= window.end)])


def examples_of(features: pd.DataFrame) -> Examples:
    """Return the rows of features that have a volatility, and whose next minute has one."""
    following = features[[*KEY, "realised_volatility_1m"]].rename(
        columns={"realised_volatility_1m": TARGET}
    )
    following["window_start"] -= MINUTE
    rows = features.merge(following, on=KEY, how="inner")
    known = rows[["realised_volatility_1m", "ewma_volatility_15m", TARGET]].notna().all(axis=1)
    return Examples(rows[known].reset_index(drop=True))


def held_out(examples: Examples) -> Interval:
    """Return the last part of the time that examples are of, by whole minutes.

    Raises:
        NoFeaturesError: There are no two minutes of them.
    """
    known_at = examples.rows["known_at"].drop_duplicates().sort_values()
    if len(known_at) < 2:  # noqa: PLR2004 - one to train on, one to judge by
        raise NoFeaturesError("of no two minutes the features and the volatility after are known")
    place = min(round(len(known_at) * (1 - HELD_OUT)), len(known_at) - 1)
    end = known_at.iloc[-1] + MINUTE
    return Interval(known_at.iloc[max(place, 1)].to_pydatetime(), end.to_pydatetime())


def measured(target: Floats, predicted: Floats) -> dict[str, float]:
    """Return the errors of predictions, in basis points of the price."""
    errors = {
        DECIDING: root_mean_squared_error(target, predicted),
        "mae_bps": mean_absolute_error(target, predicted),
    }
    return {name: float(error) * BASIS_POINTS for name, error in errors.items()}

"""What models are, each a naive one and one that learns.

Of volatility the last one known, and gradient-boosted trees that start from it; of trades that look
wrong the greatest deviation, and a forest that isolates them.
"""

from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor, IsolationForest

SEED = 20240809
# A hundredth of a basis point: a market that stood still for a quarter of an hour.
FLOOR = 1e-6

Floats = NDArray[np.float64]


class LastKnown(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Says again what a column says: the forecast that any other must beat.

    Args:
        column: The column.
    """

    def __init__(self, column: str = "ewma_volatility_15m") -> None:
        self.column = column

    def fit(self, inputs: pd.DataFrame, _target: Floats) -> Self:
        """Learn nothing."""
        self.n_features_in_ = inputs.shape[1]
        return self

    def predict(self, inputs: pd.DataFrame) -> Floats:
        """Return the column, not below `FLOOR`."""
        last: Floats = inputs[self.column].to_numpy(np.float64)
        return np.maximum(last, FLOOR)


class BoostedVolatility(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Gradient-boosted trees that say by what factor the last volatility known will change.

    Levels differ by instrument and by month, and trees cannot reach beyond what they have seen; a
    factor is alike everywhere. Weighed by the square of the level, the squared error of the factor
    is that of the volatility.

    Args:
        max_iter: Number of trees.
        learning_rate: How much each of them counts.
        max_leaf_nodes: Of each tree.
        min_samples_leaf: Examples that a leaf must have.
    """

    def __init__(
        self,
        max_iter: int = 150,
        learning_rate: float = 0.05,
        max_leaf_nodes: int = 15,
        min_samples_leaf: int = 40,
    ) -> None:
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.max_leaf_nodes = max_leaf_nodes
        self.min_samples_leaf = min_samples_leaf

    def fit(self, inputs: pd.DataFrame, target: Floats) -> Self:
        """Grow the trees; the same examples in the same order give the same trees."""
        level = LastKnown().predict(inputs)
        self.n_features_in_ = inputs.shape[1]
        relative = _relative(inputs, level)
        # Of an input that no example has, such as spreads where nobody quotes, no bins can be made.
        self.known_ = ~np.isnan(relative).all(axis=0)
        self.trees_ = HistGradientBoostingRegressor(
            **self.get_params(), early_stopping=False, random_state=SEED
        ).fit(relative[:, self.known_], target / level, sample_weight=(level / level.max()) ** 2)
        return self

    def predict(self, inputs: pd.DataFrame) -> Floats:
        """Return the volatility of the minute after each row, not below `FLOOR`."""
        level = LastKnown().predict(inputs)
        factor: Floats = self.trees_.predict(_relative(inputs, level)[:, self.known_])
        return np.maximum(level * factor, FLOOR)


class RobustZScore(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Says how far the most unusual input is from its median, in robust standard deviations."""

    def fit(self, inputs: pd.DataFrame, _target: Floats) -> Self:
        """Learn median and spread of each input."""
        values = inputs.to_numpy(np.float64)
        self.n_features_in_ = inputs.shape[1]
        self.median_ = np.median(values, axis=0)
        # So many median deviations are a standard deviation, of a normal distribution.
        spread = 1.4826 * np.median(np.abs(values - self.median_), axis=0)
        # Of an input that is nearly always the same, whatever differs is unusual.
        self.spread_ = np.maximum(spread, np.finfo(np.float64).eps)
        return self

    def predict(self, inputs: pd.DataFrame) -> Floats:
        """Return the deviation of each row, 0 and more."""
        apart = np.abs((inputs.to_numpy(np.float64) - self.median_) / self.spread_)
        greatest: Floats = apart.max(axis=1)
        return greatest


class IsolatedTrades(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A forest that cuts at random: what few cuts set apart is unusual (F. Liu et al., 2008).

    It looks at the size of deviations alone: a price too high is as wrong as one too low.

    Args:
        n_estimators: Number of trees.
        max_samples: Rows that each of them is made of.
    """

    def __init__(self, n_estimators: int = 100, max_samples: int = 256) -> None:
        self.n_estimators = n_estimators
        self.max_samples = max_samples

    def fit(self, inputs: pd.DataFrame, _target: Floats) -> Self:
        """Grow the trees; the same rows in the same order give the same trees."""
        self.n_features_in_ = inputs.shape[1]
        self.forest_ = IsolationForest(
            n_estimators=self.n_estimators,
            max_samples=min(self.max_samples, len(inputs)),
            random_state=SEED,
        ).fit(np.abs(inputs.to_numpy(np.float64)))
        return self

    def predict(self, inputs: pd.DataFrame) -> Floats:
        """Return how unusual each row is, from 0 to 1."""
        found: Floats = -self.forest_.score_samples(np.abs(inputs.to_numpy(np.float64)))
        return found


def _relative(inputs: pd.DataFrame, level: Floats) -> Floats:
    """Return inputs by which instruments of any level can be compared: what has a level, over it.

    A missing value stays one: trees send it whichever way was better.
    """
    has_level = [
        name for name in inputs.columns if name.startswith(("return_", "realised_volatility_"))
    ]
    others = [name for name in inputs.columns if name not in has_level]
    moves = np.abs(inputs[has_level].to_numpy(np.float64)) / level[:, None]
    return np.hstack([moves, inputs[others].to_numpy(np.float64)])

"""Promotion: the challenger takes the champion's place if it is better on the same held-out time.

Both are asked again, of the same rows. A champion may have seen some of that time in its own
training, which is to its advantage: who is promoted over it is better all the more.
"""

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion
from pyiceberg.catalog import Catalog

from lakehouse.intervals import Interval
from serving.models.features import read_features
from serving.models.tracking import CHALLENGER, CHAMPION, Tracking
from serving.models.volatility import DECIDING, VOLATILITY, Examples, examples_of, measured


@dataclass(frozen=True)
class Verdict:
    """What came of a promotion.

    Attributes:
        model: The registered model.
        window: The time that both were judged by.
        challenger: Its version.
        challenger_error: Its root mean squared error, in basis points.
        champion: The version that was champion before; None without any.
        champion_error: Its error likewise.
    """

    model: str
    window: Interval
    challenger: int
    challenger_error: float
    champion: int | None = None
    champion_error: float | None = None

    @property
    def promoted(self) -> bool:
        """Whether the challenger is champion now: of equals, who was it before stays."""
        return self.champion_error is None or self.challenger_error < self.champion_error


def promote(catalog: Catalog, tracking: Tracking) -> Verdict:
    """Make the challenger champion if it is better, on the window that it was not trained on.

    Raises:
        UnknownModelError: There is no challenger.
        NoFeaturesError: The snapshot that it was trained on has expired.
    """
    challenger = tracking.version(VOLATILITY, CHALLENGER)
    champion = tracking.find(VOLATILITY, CHAMPION)
    how = tracking.params_of(challenger)
    window = Interval.parse(how["window_start"], how["window_end"])
    features = read_features(catalog, snapshot_id=int(how["features_snapshot_id"]))
    judging = examples_of(features.rows).predicted_in(window)
    verdict = Verdict(
        VOLATILITY,
        window,
        int(challenger.version),
        _error(tracking, challenger, judging),
        int(champion.version) if champion else None,
        _error(tracking, champion, judging) if champion else None,
    )
    if verdict.promoted:
        tracking.point(VOLATILITY, CHAMPION, verdict.challenger)
    return verdict


def _error(tracking: Tracking, version: ModelVersion, judging: Examples) -> float:
    predicted = tracking.load(version).predict(judging.inputs)
    return measured(judging.target, predicted)[DECIDING]

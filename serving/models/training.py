"""Training: every candidate on the same examples, judged on the same time after them."""

from dataclasses import dataclass

import pandas as pd
from pyiceberg.catalog import Catalog

from lakehouse.intervals import Interval
from schemas import contract
from serving.models.features import FEATURES, INPUTS, Features, NoFeaturesError, read_features
from serving.models.pictures import out_of_time
from serving.models.tracking import CHALLENGER, Tracking, Trained
from serving.models.volatility import (
    CANDIDATES,
    DECIDING,
    NAIVE,
    VOLATILITY,
    Examples,
    examples_of,
    held_out,
    measured,
)


@dataclass(frozen=True)
class Score:
    """How well a candidate did out of time.

    Attributes:
        candidate: Its name.
        version: Its version in the registry.
        metrics: Its errors on the held-out window, in basis points.
        skill: Which part of the naive forecast's squared error it avoids; below 0 it is worse.
    """

    candidate: str
    version: int
    metrics: dict[str, float]
    skill: float


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Attributes:
        model: The registered model.
        snapshot_id: Snapshot of the features that it was trained on.
        window: The time that was kept out of training.
        trained_on: Number of examples.
        judged_by: Number of examples in the window.
        scores: Of each candidate, best first; the first is the challenger.
    """

    model: str
    snapshot_id: int
    window: Interval
    trained_on: int
    judged_by: int
    scores: tuple[Score, ...]


def train(
    catalog: Catalog,
    tracking: Tracking,
    *,
    window: Interval | None = None,
    snapshot_id: int | None = None,
) -> TrainingReport:
    """Train every candidate, log and register each, and make the best of them the challenger.

    The same snapshot and window give the same metrics.

    Args:
        catalog: The lake's catalog.
        tracking: Where runs and models are kept.
        window: The time to be kept out of training, by ``known_at``; the last part of what there
            is if None.
        snapshot_id: Of the features; the newest if None.

    Raises:
        NoFeaturesError: There is nothing to train on, or nothing to judge by.
    """
    features = read_features(catalog, snapshot_id=snapshot_id)
    examples = examples_of(features.rows)
    window = window or held_out(examples)
    known, judging = examples.known_before(window.start), examples.predicted_in(window)
    for found, where in ((known, "before"), (judging, "in")):
        if found.rows.empty:
            raise NoFeaturesError(f"there is no example {where} the held-out window {window}")
    fitted = {name: make().fit(known.inputs, known.target) for name, make in CANDIDATES.items()}
    errors = {
        name: measured(judging.target, model.predict(judging.inputs))
        for name, model in fitted.items()
    }
    scores = []
    for name, model in fitted.items():
        skill = 1 - (errors[name][DECIDING] / errors[NAIVE][DECIDING]) ** 2
        trained = Trained(
            candidate=name,
            estimator=model,
            inputs=known.inputs,
            params={**_circumstances(known, judging, window, features), **model.get_params()},
            metrics={**errors[name], "skill": skill},
            tags={
                f"snapshot.{FEATURES}": str(features.snapshot_id),
                f"contract.{FEATURES}": contract(FEATURES).version,
            },
            pictures={
                "out_of_time.png": out_of_time(judging.rows, model.predict(judging.inputs), name)
            },
        )
        scores.append(Score(name, tracking.register(VOLATILITY, trained), errors[name], skill))
    # Of equals the simplest, which comes first.
    scores.sort(key=lambda score: score.metrics[DECIDING])
    tracking.point(VOLATILITY, CHALLENGER, scores[0].version)
    return TrainingReport(
        VOLATILITY,
        features.snapshot_id,
        window,
        len(known.rows),
        len(judging.rows),
        tuple(scores),
    )


def _circumstances(
    known: Examples, judging: Examples, window: Interval, features: Features
) -> dict[str, str | int]:
    """Return what all candidates of a training have in common."""
    return {
        "inputs": ", ".join(INPUTS),
        "features_snapshot_id": features.snapshot_id,
        "window_start": window.start.isoformat(),
        "window_end": window.end.isoformat(),
        "trained_on": len(known.rows),
        "trained_since": _iso(known.rows["known_at"].min()),
        "judged_by": len(judging.rows),
    }


def _iso(time: pd.Timestamp) -> str:
    return str(time.isoformat())

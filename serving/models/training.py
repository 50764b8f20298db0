"""Training: every candidate on the same examples, chosen and judged by two slices of time after."""

from dataclasses import dataclass

from pyiceberg.catalog import Catalog

from lakehouse.intervals import Interval
from schemas import contract
from serving.models.features import FeatureReader
from serving.models.task import Examples, Slices, Task
from serving.models.tracking import CHALLENGER, Tracking, Trained


@dataclass(frozen=True)
class Score:
    """How well a candidate did out of time.

    Attributes:
        candidate: Its name.
        version: Its version in the registry.
        chosen_by: The deciding metric on the slice that the best is chosen by.
        metrics: Its metrics on the last slice.
        skill: There, which part of the naive candidate's loss it avoids; below 0 it is worse.
    """

    candidate: str
    version: int
    chosen_by: float
    metrics: dict[str, float]
    skill: float


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Attributes:
        model: The registered model.
        deciding: The metric that decides.
        snapshot_id: Snapshot of what the features are made of.
        slices: The stretches of time.
        trained_on: Number of examples.
        chosen_by: Number of examples that the best was chosen by.
        judged_by: Number of examples of the last slice.
        scores: Of each candidate, the chosen one first: it is the challenger.
    """

    model: str
    deciding: str
    snapshot_id: int
    slices: Slices
    trained_on: int
    chosen_by: int
    judged_by: int
    scores: tuple[Score, ...]


def train(
    catalog: Catalog,
    tracking: Tracking,
    task: Task,
    *,
    window: Interval | None = None,
    snapshot_id: int | None = None,
) -> TrainingReport:
    """Train every candidate, log and register each, and make the best of them the challenger.

    The best is chosen by a slice of time before the last, so that by the last nothing has been
    decided when a challenger meets the champion. The same snapshot and window give the same
    metrics.

    Args:
        catalog: The lake's catalog.
        tracking: Where runs and models are kept.
        task: What is to be said of which rows.
        window: The last slice, of whole minutes; the last part of what there is if None.
        snapshot_id: Of what features are made of; the newest if None.

    Raises:
        NoFeaturesError: There is nothing to train on, or nothing to choose or to judge by.
        lakehouse.intervals.IntervalError: The window is not of whole minutes.
    """
    reader = FeatureReader(catalog, task.source, snapshot_id)
    slices = Slices.of(reader.times(), task, window)
    known = task.to_learn(reader, slices.training)
    choosing, judging = (task.to_judge(reader, one) for one in (slices.choosing, slices.judging))
    fitted = {
        name: make().fit(known.inputs, known.target) for name, make in task.candidates.items()
    }

    def measured(examples: Examples) -> dict[str, dict[str, float]]:
        return {
            name: task.measured(examples.target, model.predict(examples.inputs))
            for name, model in fitted.items()
        }

    chosen_by, metrics = measured(choosing), measured(judging)
    counts = {"trained_on": len(known), "chosen_by": len(choosing), "judged_by": len(judging)}
    table, scores = task.source.table, []
    for name, model in fitted.items():
        deciding = chosen_by[name][task.deciding]
        skill = task.skill(metrics[name], metrics[task.naive])
        trained = Trained(
            candidate=name,
            estimator=model,
            inputs=known.inputs,
            params={**_circumstances(task, reader, slices), **counts, **model.get_params()},
            metrics={**metrics[name], "skill": skill, f"chosen_by_{task.deciding}": deciding},
            tags={
                f"snapshot.{table}": str(reader.snapshot_id),
                f"contract.{table}": contract(table).version,
            },
            pictures={
                "out_of_time.png": task.draw(judging.rows, model.predict(judging.inputs), name)
            },
        )
        version = tracking.register(task.model, trained)
        scores.append(Score(name, version, deciding, metrics[name], skill))
    # Of equals the simplest, which comes first.
    scores.sort(key=lambda score: task.loss(score.chosen_by))
    tracking.point(task.model, CHALLENGER, scores[0].version)
    return TrainingReport(
        task.model, task.deciding, reader.snapshot_id, slices, **counts, scores=tuple(scores)
    )


def _circumstances(task: Task, reader: FeatureReader, slices: Slices) -> dict[str, str | int]:
    """Return what all candidates of a training have in common."""
    return {
        "inputs": ", ".join(task.source.inputs),
        "snapshot_id": reader.snapshot_id,
        "trained_since": slices.training.start.isoformat(),
        "chosen_since": slices.choosing.start.isoformat(),
        "window_start": slices.judging.start.isoformat(),
        "window_end": slices.judging.end.isoformat(),
    }

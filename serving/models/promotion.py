"""Promotion: the challenger takes the champion's place if it is better on the same held-out time.

Both are asked again, of the same rows: the last slice, by which nothing was decided of the
challenger before. A champion may have seen some of that time in its own training, which is to its
advantage: who is promoted over it is better all the more.
"""

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion
from pyiceberg.catalog import Catalog

from lakehouse.intervals import Interval
from serving.models.features import FeatureReader
from serving.models.task import Examples, Task
from serving.models.tracking import CHALLENGER, CHAMPION, Tracking


@dataclass(frozen=True)
class Verdict:
    """What came of a promotion.

    Attributes:
        model: The registered model.
        window: The time that both were judged by.
        metric: What decides.
        challenger: Its version.
        challenger_value: Its value of the metric.
        champion: The version that was champion before; None without any.
        champion_value: Its value likewise.
        promoted: Whether the challenger is champion now: of equals, who was it before stays.
    """

    model: str
    window: Interval
    metric: str
    challenger: int
    challenger_value: float
    champion: int | None
    champion_value: float | None
    promoted: bool


def promote(catalog: Catalog, tracking: Tracking, task: Task) -> Verdict:
    """Make the challenger champion if it is better, on the last slice of its training's time.

    Raises:
        UnknownModelError: There is no challenger.
        NoFeaturesError: The snapshot that it was trained on has expired.
    """
    challenger = tracking.version(task.model, CHALLENGER)
    champion = tracking.find(task.model, CHAMPION)
    how = tracking.params_of(challenger)
    window = Interval.parse(how["window_start"], how["window_end"])
    judging = task.to_judge(FeatureReader(catalog, task.source, int(how["snapshot_id"])), window)

    def value_of(version: ModelVersion) -> float:
        return _measured(tracking, task, version, judging)[task.deciding]

    ours, theirs = value_of(challenger), value_of(champion) if champion else None
    promoted = theirs is None or task.loss(ours) < task.loss(theirs)
    if promoted:
        tracking.point(task.model, CHAMPION, int(challenger.version))
    return Verdict(
        task.model,
        window,
        task.deciding,
        int(challenger.version),
        ours,
        int(champion.version) if champion else None,
        theirs,
        promoted,
    )


def _measured(
    tracking: Tracking, task: Task, version: ModelVersion, judging: Examples
) -> dict[str, float]:
    return task.measured(judging.target, tracking.load(version).predict(judging.inputs))

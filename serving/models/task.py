"""A task: what is to be said of which rows, who may say it, and how that is judged out of time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lakehouse.intervals import Interval, IntervalError
from serving.models.estimators import SEED, Floats
from serving.models.features import (
    MINUTE,
    TARGET,
    Change,
    FeatureReader,
    NoFeaturesError,
    Source,
)

# Of the time before it, each slice that is held out takes the last part, but no more days.
SHARE = 0.2
MOST = timedelta(days=2)
# Of each step of reading, so that a month of it stays in memory.
MOST_ROWS = 50_000


@dataclass(frozen=True)
class Examples:
    """Rows of features with what is to be said of them, ``target``.

    Attributes:
        rows: The rows.
        inputs: What a model is given.
    """

    rows: pd.DataFrame
    inputs: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def target(self) -> Floats:
        """What it is to say."""
        target: Floats = self.rows[TARGET].to_numpy(np.float64)
        return target


@dataclass(frozen=True)
class Task:
    """What is to be said of rows of features.

    Attributes:
        model: The registered model.
        source: What the features are made of.
        examples: Makes examples, with ``target``, of rows of features.
        candidates: How to make an estimator of each, the simplest first.
        naive: The candidate that any other must beat.
        measured: Returns metrics of a target and what was said of it.
        deciding: The metric that decides.
        loss: What is to be small, of that metric.
        draw: Draws examples, what was said of them, and a title.
        days: How many days training and all that is held out reach back.
        horizon: How long after a row what is to be said of it is known.
        change: What is done to the rows that examples to be judged by are made of.
    """

    model: str
    source: Source
    examples: Change
    candidates: Mapping[str, Callable[[], Any]]
    naive: str
    measured: Callable[[Floats, Floats], dict[str, float]]
    deciding: str
    loss: Callable[[float], float]
    draw: Callable[[pd.DataFrame, Floats, str], Figure]
    days: int
    horizon: timedelta = timedelta()
    change: Change | None = None

    def sample(self, reader: FeatureReader, span: Interval) -> pd.DataFrame:
        """Return rows of features of a stretch of time, some of each step if they are many."""
        return _by_step(self.source, span, reader.rows)

    def to_learn(self, reader: FeatureReader, span: Interval) -> Examples:
        """Return the examples of which all is known within a stretch of time, to learn from."""
        return self._examples(reader, span, None)

    def to_judge(self, reader: FeatureReader, span: Interval) -> Examples:
        """Return the examples that are asked and become known within a stretch of time."""
        return self._examples(reader, span, self.change)

    def loss_of(self, metrics: Mapping[str, float]) -> float:
        """Return what is to be small."""
        return self.loss(metrics[self.deciding])

    def skill(self, metrics: Mapping[str, float], naive: Mapping[str, float]) -> float:
        """Return which part of the naive candidate's loss is avoided; below 0 it is greater."""
        of_naive = self.loss_of(naive)
        return 1 - self.loss_of(metrics) / of_naive if of_naive else 0.0

    def _examples(self, reader: FeatureReader, span: Interval, change: Change | None) -> Examples:
        def read(part: Interval) -> pd.DataFrame:
            asked = Interval(part.start - self.horizon, part.end)
            return self.examples(reader.rows(asked, change=change))

        rows = _by_step(self.source, span, read)
        if rows.empty:
            raise NoFeaturesError(f"there is no example for {self.model} in {span}")
        return Examples(rows, self.source.inputs_of(rows))


@dataclass(frozen=True)
class Slices:
    """Consecutive stretches of time: nothing of a later one is known in an earlier one.

    Attributes:
        training: What candidates learn from.
        choosing: What the best of them is chosen by.
        judging: What that one is held against the champion by, and nothing else is decided by.
    """

    training: Interval
    choosing: Interval
    judging: Interval

    @classmethod
    def of(cls, times: Interval, task: Task, window: Interval | None) -> "Slices":
        """Cut the newest days that a task reaches back.

        Args:
            times: The time that there are rows of.
            task: The task.
            window: The last slice, of whole minutes; the last part of the time if None.

        Raises:
            IntervalError: The window is not of whole minutes.
            NoFeaturesError: There are no three minutes, or none before the window.
        """
        if window and (window.start.timestamp() % 60 or window.end.timestamp() % 60):
            raise IntervalError(f"the held-out window {window} is not of whole minutes")
        judging = window or _last_part(times)
        start = max(times.start, judging.end - timedelta(days=task.days))
        if judging.start - start < 2 * MINUTE:
            raise NoFeaturesError(f"of the time before {judging.start} there are no two minutes")
        choosing = _last_part(Interval(start, judging.start))
        return cls(Interval(start, choosing.start), choosing, judging)


def _last_part(span: Interval) -> Interval:
    minutes = (span.end - span.start) * SHARE // MINUTE
    return Interval(span.end - min(max(minutes, 1) * MINUTE, MOST), span.end)


def _by_step(
    source: Source, span: Interval, read: Callable[[Interval], pd.DataFrame]
) -> pd.DataFrame:
    parts = [
        rows.sample(min(len(rows), MOST_ROWS), random_state=SEED).sort_index()
        for rows in map(read, span.split(source.step))
    ]
    return pd.concat(parts, ignore_index=True)

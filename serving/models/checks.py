"""Checks of a day: whether its features are like those of training, and the champion right.

Drift is the statistic of Kolmogorov and Smirnov, feature by feature: the greatest distance between
the distributions of the day and of training. Quality is what the champion is judged by, beside the
naive candidate on the same examples of the day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
from pyiceberg.catalog import Catalog
from scipy.stats import ks_2samp

from lakehouse.audit_trail import append_rows
from lakehouse.intervals import Interval
from serving.models.features import FeatureReader, NoFeaturesError
from serving.models.task import Examples, Task
from serving.models.tracking import CHAMPION, Tracking

CHECKS = "ops.model_checks"
# Whose quality is a check's subject, where it is not a feature.
CHAMPIONS, NAIVES = "champion", "naive"


@dataclass(frozen=True)
class Check:
    """What was measured of a day.

    Attributes:
        measure: ``ks``, ``missing``, or a metric of the task's.
        subject: The feature, or whose quality.
        value: What was found.
        row_count: Rows of the day that it is about.
    """

    measure: str
    subject: str
    value: float
    row_count: int


def check_day(catalog: Catalog, tracking: Tracking, task: Task, day: date) -> list[Check]:
    """Measure drift and quality of a day for the champion, and record what was found.

    Args:
        catalog: The lake's catalog.
        tracking: Where models are kept.
        task: What is said of which rows.
        day: UTC, by the start of the minutes.

    Raises:
        UnknownModelError: There is no champion.
        NoFeaturesError: There are none of the day, or none that the champion can be judged by.
    """
    champion = tracking.version(task.model, CHAMPION)
    reader = FeatureReader(catalog, task.source)
    start = datetime.combine(day, time(), UTC)
    whole = Interval(start, start + timedelta(days=1))
    of_day = task.sample(reader, whole)
    if of_day.empty:
        raise NoFeaturesError(f"there are no features of {day}: run {task.source.remedy}")
    reference, inputs_of = tracking.reference_of(champion), task.source.inputs_of
    judged = task.to_judge(reader, whole)
    checks = [
        *_drift(inputs_of(of_day), inputs_of(reference)),
        *_quality(task, judged, CHAMPIONS, tracking.load(champion)),
        *_quality(task, judged, NAIVES, task.candidates[task.naive]().fit(reference, None)),
    ]
    recorded_at = datetime.now(UTC)
    rows = [
        {
            **vars(check),
            "business_date": day,
            "model": champion.name,
            "version": int(champion.version),
            "snapshot_id": reader.snapshot_id,
            "recorded_at": recorded_at,
        }
        for check in checks
    ]
    append_rows(catalog, CHECKS, rows)
    return checks


def _drift(of_day: pd.DataFrame, trained_on: pd.DataFrame) -> Iterator[Check]:
    for name in of_day:
        now, then = of_day[name].dropna(), trained_on[name].dropna()
        yield Check("missing", name, float(of_day[name].isna().mean()), len(of_day))
        if len(now) and len(then):
            # The statistic alone: of as many rows as these, any difference is significant.
            found = ks_2samp(now, then, method="asymp")
            yield Check("ks", name, float(found.statistic), len(now))


def _quality(task: Task, judged: Examples, subject: str, model: Any) -> Iterator[Check]:
    for measure, value in task.measured(judged.target, model.predict(judged.inputs)).items():
        yield Check(measure, subject, value, len(judged))

"""Checks of a day: whether its features are like those of training, and the predictions right.

Drift is the statistic of Kolmogorov and Smirnov, feature by feature: the greatest distance between
the distributions of the day and of training. Quality is the error of the stored predictions, beside
that of the naive forecast of the same minutes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from pyiceberg.catalog import Catalog
from scipy.stats import ks_2samp

from lakehouse.audit_trail import append_rows
from lakehouse.intervals import Interval
from serving.models.features import INPUTS, KEY, NoFeaturesError, inputs_of, read_features, within
from serving.models.scoring import PREDICTIONS, of_version
from serving.models.tracking import CHAMPION, Tracking
from serving.models.volatility import (
    CANDIDATES,
    NAIVE,
    VOLATILITY,
    Examples,
    examples_of,
    measured,
)

CHECKS = "ops.model_checks"
# Whose error is a check's subject, where it is not a feature.
CHAMPIONS, NAIVES = "champion", "naive"


@dataclass(frozen=True)
class Check:
    """What was measured of a day.

    Attributes:
        measure: ``ks``, ``missing``, ``rmse_bps`` or ``mae_bps``.
        subject: The feature, or whose predictions.
        value: What was found.
        row_count: Rows of the day that it is about.
    """

    measure: str
    subject: str
    value: float
    row_count: int


def check_day(catalog: Catalog, tracking: Tracking, day: date) -> list[Check]:
    """Measure drift and quality of a day for the champion, and record what was found.

    Args:
        catalog: The lake's catalog.
        tracking: Where models are kept.
        day: UTC, by the start of the minutes.

    Raises:
        UnknownModelError: There is no champion.
        NoFeaturesError: There are none of the day.
    """
    champion = tracking.version(VOLATILITY, CHAMPION)
    start = datetime.combine(day, time(), UTC)
    of_day = read_features(catalog, spans=[Interval(start, start + timedelta(days=1))])
    if of_day.rows.empty:
        raise NoFeaturesError(f"there are no features of {day}: run `lakehouse features`")
    checks = [
        *_drift(inputs_of(of_day.rows), inputs_of(tracking.reference_of(champion))),
        *_quality(catalog, champion, of_day.rows),
    ]
    recorded_at = datetime.now(UTC)
    rows = [
        {
            **vars(check),
            "business_date": day,
            "model": champion.name,
            "version": int(champion.version),
            "snapshot_id": of_day.snapshot_id,
            "recorded_at": recorded_at,
        }
        for check in checks
    ]
    append_rows(catalog, CHECKS, rows)
    return checks


def _drift(of_day: pd.DataFrame, trained_on: pd.DataFrame) -> Iterator[Check]:
    for name in INPUTS:
        now, then = of_day[name].dropna(), trained_on[name].dropna()
        yield Check("missing", name, float(of_day[name].isna().mean()), len(of_day))
        if len(now) and len(then):
            # The statistic alone: of as many rows as these, any difference is significant.
            found = ks_2samp(now, then, method="asymp")
            yield Check("ks", name, float(found.statistic), len(now))


def _quality(catalog: Catalog, champion: ModelVersion, of_day: pd.DataFrame) -> Iterator[Check]:
    examples = examples_of(of_day)
    span = Interval(of_day["window_start"].min(), of_day["known_at"].max())
    asked = f"{of_version(champion.name, int(champion.version))} and ({within([span])})"
    scan = catalog.load_table(PREDICTIONS).scan(asked, selected_fields=(*KEY, "value"))
    judged = examples.rows.merge(scan.to_arrow().to_pandas(), on=KEY, how="inner")
    if judged.empty:
        return
    both = Examples(judged)
    naive = CANDIDATES[NAIVE]().predict(both.inputs)
    for subject, predicted in ((CHAMPIONS, judged["value"].to_numpy()), (NAIVES, naive)):
        for measure, value in measured(both.target, predicted).items():
            yield Check(measure, subject, value, len(judged))

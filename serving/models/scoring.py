"""Scoring: the champion's predictions, of stored features into a table, and of rows at once."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException

from lakehouse.audit_trail import COMMIT_BUDGET_SECONDS
from lakehouse.intervals import Interval, covering
from lakehouse.resilience import retrying
from serving.models.features import KEY, InvalidRowsError, inputs_of, read_features, within
from serving.models.tracking import CHAMPION, Tracking
from serving.models.volatility import VOLATILITY

PREDICTIONS = "gold.predictions"
RUNS = "ops.runs"


@dataclass(frozen=True)
class Scored:
    """What a scoring wrote.

    Attributes:
        model: The registered model.
        version: Its version.
        snapshot_id: Snapshot of the features.
        spans: The stretches of time that were scored.
        rows: How many predictions they have.
    """

    model: str
    version: int
    snapshot_id: int | None
    spans: tuple[Interval, ...]
    rows: int


class Scorer:
    """The champion, loaded: what is given to it is scored at once, by the code that batch runs.

    It keeps to the version that was champion when it was made; `refresh` looks for a newer one.

    Args:
        tracking: Where models are kept.
        model: The registered model.

    Raises:
        serving.models.tracking.UnknownModelError: It has no champion.
    """

    def __init__(self, tracking: Tracking, model: str = VOLATILITY) -> None:
        self.model = model
        self._tracking = tracking
        self._champion = tracking.version(model, CHAMPION)
        self._estimator = tracking.load(self._champion)

    @property
    def version(self) -> int:
        """Version of the model that scores."""
        return int(self._champion.version)

    def refresh(self) -> bool:
        """Load the champion if it is another one by now; tell whether it is."""
        champion = self._tracking.version(self.model, CHAMPION)
        if champion.version == self._champion.version:
            return False
        self._estimator = self._tracking.load(champion)
        self._champion = champion
        return True

    def score(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Score rows of features.

        Args:
            rows: With the columns of ``serving.models.features.INPUTS``; any may be None but
                ``ewma_volatility_15m`` and ``realised_volatility_1m``. What names a row (venue,
                symbol, window_start, known_at) is returned with its prediction.

        Returns:
            For each row in order: what names it, ``model``, ``version`` and ``value``.

        Raises:
            InvalidRowsError: A column is missing or no number, or no volatility is known.
        """
        if not rows:
            return []
        frame = pd.DataFrame.from_records([dict(row) for row in rows])
        if (unknown := _unknown(frame)).any():
            raise InvalidRowsError(f"row {unknown.idxmax()} states no volatility")
        names = [name for name in (*KEY, "known_at") if name in frame.columns]
        return [
            {**{name: row[name] for name in names if name in row}}
            | {"model": self.model, "version": self.version, "value": value}
            for row, value in zip(rows, self.values(frame), strict=True)
        ]

    def values(self, rows: pd.DataFrame) -> list[float]:
        """Return a prediction for each row of features."""
        found: list[float] = self._estimator.predict(inputs_of(rows)).tolist()
        return found


def score(catalog: Catalog, scorer: Scorer, interval: Interval) -> Scored:
    """Write the champion's predictions of all features that an interval of ingestion has moved.

    Predictions of the same version and minutes are replaced; those of other versions stay.

    Args:
        catalog: The lake's catalog.
        scorer: The champion.
        interval: Ingestion times, whose features `lakehouse features` has published.
    """
    spans = covering(_hours(catalog, interval))
    if not spans:
        return Scored(scorer.model, scorer.version, None, (), 0)
    features = read_features(catalog, spans=spans)
    rows = features.rows[~_unknown(features.rows)]
    predicted = rows[[*KEY, "known_at"]].assign(
        model=scorer.model,
        version=scorer.version,
        value=scorer.values(rows) if len(rows) else [],
        input_snapshot_id=features.snapshot_id,
    )
    _replace(catalog, scorer, spans, predicted)
    return Scored(scorer.model, scorer.version, features.snapshot_id, tuple(spans), len(predicted))


def of_version(model: str, version: int) -> str:
    """Return the condition that a row is a prediction of a model's version."""
    return f"model = '{model}' and version = {version}"


def _unknown(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Tell of which rows no volatility is known, so that nothing can be said of the next."""
    return inputs_of(rows)[["ewma_volatility_15m", "realised_volatility_1m"]].isna().any(axis=1)


def _replace(
    catalog: Catalog, scorer: Scorer, spans: Sequence[Interval], predicted: pd.DataFrame
) -> None:
    @retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
    def commit() -> None:
        table = catalog.load_table(PREDICTIONS)
        schema = table.schema().as_arrow()
        rows = pa.Table.from_pandas(predicted[schema.names], schema, preserve_index=False)
        before = f"{of_version(scorer.model, scorer.version)} and ({within(spans)})"
        with warnings.catch_warnings():
            # Of minutes that are scored for the first time there is nothing to replace.
            warnings.filterwarnings("ignore", "Delete operation did not match any records")
            table.overwrite(rows, overwrite_filter=before)

    commit()


def _hours(catalog: Catalog, interval: Interval) -> set[datetime]:
    """Return the business hours that runs of features of an interval have recomputed."""
    runs = catalog.load_table(RUNS).scan(
        row_filter=f"dataset = 'features' and status = 'PUBLISHED'"
        f" and interval_start < '{interval.end.isoformat()}'"
        f" and interval_end > '{interval.start.isoformat()}'",
        selected_fields=("business_hours",),
    )
    hours = runs.to_arrow().column("business_hours").to_pylist()
    return {
        datetime.fromisoformat(hour).astimezone(UTC) for one in hours for hour in json.loads(one)
    }

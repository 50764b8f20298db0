"""Scoring: the champion's predictions, of stored features into a table, and of rows at once."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, ValidationException

from lakehouse.audit_trail import COMMIT_BUDGET_SECONDS
from lakehouse.coverage import recomputed_hours
from lakehouse.intervals import Interval, covering
from lakehouse.resilience import retrying
from serving.models.features import KEY, FeatureReader, InvalidRowsError, within
from serving.models.registry import TASKS
from serving.models.tracking import CHAMPION, Tracking, UnknownModelError
from serving.models.volatility import VOLATILITY

PREDICTIONS = "gold.predictions"
# The runs whose hours are scored.
RUNS_OF_FEATURES = ("derived", "features")
# What another scoring, which commits first, comes to.
CONFLICTS = (CommitFailedException, ValidationException)
# What names a row of features, as far as it has these.
_NAMES = (*KEY, "trade_id", "known_at")


@dataclass(frozen=True)
class Scored:
    """What a scoring wrote.

    Attributes:
        model: The registered model.
        version: Its version.
        snapshot_id: Snapshot of what the features are made of.
        spans: The stretches of time that were scored.
        rows: How many predictions were written: none where they were the same before.
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

    Attributes:
        model: The registered model.
        source: What it takes: ``source.inputs`` are the columns of a row of features.

    Raises:
        UnknownModelError: There is no such model, or it has no champion.
    """

    def __init__(self, tracking: Tracking, model: str = VOLATILITY) -> None:
        if model not in TASKS:
            raise UnknownModelError(f"there is no model {model!r}, but {', '.join(TASKS)}")
        self.model, self.source = TASKS[model].model, TASKS[model].source
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
            rows: With the columns of ``source.inputs``; any may be None but those of
                ``source.required``. What names a row (venue, symbol, window_start, trade_id,
                known_at) is returned with its prediction.

        Returns:
            For each row in order: what names it, ``model``, ``version`` and ``value``.

        Raises:
            InvalidRowsError: A column is missing or no number, or what is required is unknown.
        """
        if not rows:
            return []
        frame = pd.DataFrame.from_records([dict(row) for row in rows])
        unknown = self.source.unknown(frame).stack()
        if unknown.any():
            place, name = unknown.idxmax()
            raise InvalidRowsError(f"row {place} states no {name}")
        return self._named(rows, self.values(frame))

    def score_source(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Score rows of what features are made of: see ``source.features``.

        Args:
            rows: With ``source.columns``; those of ``source.reach`` before the first that is asked
                for among them.

        Returns:
            As `score` does, in the order that features come in; ``value`` is None where what is
            required is unknown.
        """
        if not rows:
            return []
        frame = pd.DataFrame.from_records([dict(row) for row in rows])
        features = self.source.features(frame)
        is_known = ~self.source.unknown(features).any(axis=1)
        values = iter(self.values(features[is_known]) if is_known.any() else ())
        said = [next(values) if known else None for known in is_known]
        return self._named(features.to_dict("records"), said)

    def _named(
        self, rows: Sequence[Mapping[Any, Any]], values: Sequence[float | None]
    ) -> list[dict[str, Any]]:
        return [
            {name: row[name] for name in _NAMES if name in row}
            | {"model": self.model, "version": self.version, "value": value}
            for row, value in zip(rows, values, strict=True)
        ]

    def values(self, rows: pd.DataFrame) -> list[float]:
        """Return a prediction for each row of features."""
        found: list[float] = self._estimator.predict(self.source.inputs_of(rows)).tolist()
        return found


def score(catalog: Catalog, scorer: Scorer, interval: Interval) -> Scored:
    """Write the champion's predictions of all features that an interval of ingestion has moved.

    Predictions of the same version and minutes are replaced; those of other versions stay.

    Args:
        catalog: The lake's catalog.
        scorer: The champion.
        interval: Ingestion times, whose features `lakehouse features` has published.
    """
    spans = covering(recomputed_hours(catalog, *RUNS_OF_FEATURES, interval))
    if not spans:
        return Scored(scorer.model, scorer.version, None, (), 0)
    reader = FeatureReader(catalog, scorer.source)
    written = sum(
        _replace(catalog, scorer, part, _predicted(scorer, reader, part))
        for span in spans
        for part in span.split(scorer.source.step)
    )
    return Scored(scorer.model, scorer.version, reader.snapshot_id, tuple(spans), written)


def _predicted(scorer: Scorer, reader: FeatureReader, span: Interval) -> pd.DataFrame:
    """Return what is said of a stretch of time: of several rows of a minute the greatest."""
    found = reader.rows(span)
    rows = found[~scorer.source.unknown(found).any(axis=1)]
    said = rows[[name for name in _NAMES if name in rows]].assign(
        model=scorer.model,
        version=scorer.version,
        value=scorer.values(rows) if len(rows) else [],
        input_snapshot_id=reader.snapshot_id,
    )
    greatest = said.sort_values("value", ascending=False, kind="stable").drop_duplicates(KEY)
    return greatest.sort_values(KEY)


def _replace(catalog: Catalog, scorer: Scorer, span: Interval, predicted: pd.DataFrame) -> int:
    """Write a version's predictions of a span, unless they are there already; return how many."""
    before = f"model = '{scorer.model}' and version = {scorer.version} and {within([span])}"

    @retrying(on=CONFLICTS, budget_seconds=COMMIT_BUDGET_SECONDS)
    def commit() -> int:
        table = catalog.load_table(PREDICTIONS)
        schema = table.schema().as_arrow()
        # A model of minutes names no trade.
        columns = predicted.reindex(columns=schema.names)
        rows = pa.Table.from_pandas(columns, schema, preserve_index=False)
        if _said(table.scan(before).to_arrow()) == _said(rows):
            return 0
        with warnings.catch_warnings():
            # Of minutes that are scored for the first time there is nothing to replace.
            warnings.filterwarnings("ignore", "Delete operation did not match any records")
            table.overwrite(rows, overwrite_filter=before)
        return int(rows.num_rows)

    return commit()


def _said(predictions: pa.Table) -> pa.Table:
    """Return predictions in order, whichever snapshot they were made of."""
    told = predictions.drop_columns("input_snapshot_id")
    return told.sort_by([(name, "ascending") for name in KEY])

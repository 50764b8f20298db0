"""The inputs of models: what rows of features are read of, the same for training and scoring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
from pyiceberg.catalog import Catalog

from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval

FEATURES = "gold.features_1m"
KEY = ["venue", "symbol", "window_start"]
# What is to be said of a row of features, in examples.
TARGET = "target"
MINUTE = timedelta(minutes=1)
BASIS_POINTS = 10_000
# What has nothing to do with how long a market is watched, or how large it is.
INPUTS = (
    "return_1m",
    "return_5m",
    "realised_volatility_1m",
    "realised_volatility_5m",
    "ewma_volatility_15m",
    "order_flow_imbalance_1m",
    "order_flow_imbalance_5m",
    "spread_bps",
    "trade_intensity_1m",
    "trade_intensity_5m",
    "quote_intensity_1m",
)

Change = Callable[[pd.DataFrame], pd.DataFrame]
"""Rows in, rows out."""


class NoFeaturesError(LakehouseError):
    """There are no features to work on."""


class InvalidRowsError(LakehouseError):
    """Rows that were given to a model are not what it takes."""

    exit_code = 2


@dataclass(frozen=True)
class Source:
    """What a model's features are read of, and how they are made of it.

    Attributes:
        table: The table.
        time: Its column that tells which stretch of time a row is of.
        columns: Those of its columns that are read.
        inputs: What a model is given of a row of features, in this order.
        required: Those of them without which nothing can be said of a row.
        remedy: What to run when the table is empty.
        features: Makes rows of features, with `KEY` and ``known_at``, of rows of the table.
        reach: How far back of a row of features others tell in it.
        step: How much time is held in memory at once.
        where: Which rows of the table are meant, in Iceberg's words; all without any.
    """

    table: str
    time: str
    columns: tuple[str, ...]
    inputs: tuple[str, ...]
    required: tuple[str, ...]
    remedy: str
    features: Change = lambda rows: rows
    reach: timedelta = timedelta()
    step: timedelta = timedelta(days=1)
    where: str | None = None

    def inputs_of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return a model's inputs, in its order, as floats; what is unknown is missing.

        Args:
            rows: Rows with the columns of ``inputs``, whatever else they have.

        Raises:
            InvalidRowsError: A column is missing, or has something in it that is no number.
        """
        if missing := [name for name in self.inputs if name not in rows.columns]:
            raise InvalidRowsError(f"rows have no {', '.join(missing)}")
        try:
            return rows[[*self.inputs]].astype("float64")
        except (TypeError, ValueError) as error:
            raise InvalidRowsError(f"a feature is no number: {error}") from error

    def unknown(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Tell of each row which of the inputs that nothing can be said without are unknown."""
        return self.inputs_of(rows)[[*self.required]].isna()


MINUTES = Source(
    table=FEATURES,
    time="window_start",
    columns=(*KEY, "known_at", *INPUTS),
    inputs=INPUTS,
    required=("ewma_volatility_15m", "realised_volatility_1m"),
    remedy="`lakehouse batch`, then `lakehouse features`",
)


class FeatureReader:
    """Reads features of one snapshot of what they are made of.

    Args:
        catalog: The lake's catalog.
        source: What they are made of.
        snapshot_id: The snapshot; the newest if None.

    Raises:
        NoFeaturesError: The table has no such snapshot, or none.
    """

    def __init__(self, catalog: Catalog, source: Source, snapshot_id: int | None = None) -> None:
        self._table, self._source = catalog.load_table(source.table), source
        snapshot = (
            self._table.snapshot_by_id(snapshot_id)
            if snapshot_id
            else self._table.current_snapshot()
        )
        if snapshot is None:
            raise NoFeaturesError(
                f"{source.table} has no snapshot {snapshot_id} any more: train again"
                if snapshot_id
                else f"{source.table} is empty: run {source.remedy}"
            )
        self.snapshot_id = snapshot.snapshot_id

    def times(self) -> Interval:
        """Return the whole minutes from the oldest row to the newest, as data files state them.

        Raises:
            NoFeaturesError: There is no row.
        """
        files = self._table.inspect.data_files(self.snapshot_id).column("readable_metrics")
        bounds = [one[self._source.time] for one in files.to_pylist()]
        if not bounds:
            raise NoFeaturesError(f"{self._source.table} is empty: run {self._source.remedy}")
        oldest = min(one["lower_bound"] for one in bounds)
        newest = max(one["upper_bound"] for one in bounds)
        return Interval(_minute_of(oldest), _minute_of(newest) + MINUTE)

    def rows(self, span: Interval, *, change: Change | None = None) -> pd.DataFrame:
        """Return the features of a stretch of time, by ``window_start``, sorted by key.

        Args:
            span: Whole minutes. All of it is held in memory: see ``Source.step``.
            change: What is done to the rows of the table before features are made of them.
        """
        source = self._source
        asked = within([Interval(span.start - source.reach, span.end)], source.time)
        scan = self._table.scan(
            f"{asked} and {source.where}" if source.where else asked,
            selected_fields=source.columns,
            snapshot_id=self.snapshot_id,
        )
        rows = _with_floats(scan.to_arrow()).to_pandas()
        found = source.features(change(rows) if change else rows)
        return found[found["window_start"] >= span.start].sort_values(
            [*KEY, "known_at"], kind="stable", ignore_index=True
        )


def within(spans: Sequence[Interval], column: str = "window_start") -> str:
    """Return the condition that a row's time is in one of some stretches, in brackets."""
    stretches = " or ".join(
        f"({column} >= '{span.start.isoformat()}' and {column} < '{span.end.isoformat()}')"
        for span in spans
    )
    return f"({stretches})"


def _with_floats(rows: pa.Table) -> pa.Table:
    """Return rows with floats for decimals: models take no others, and add nothing up."""
    return rows.cast(
        pa.schema(
            field.with_type(pa.float64()) if pa.types.is_decimal(field.type) else field
            for field in rows.schema
        )
    )


def _minute_of(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(second=0, microsecond=0)

"""The inputs of models: rows of ``gold.features_1m``, the same for training and for scoring."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from pyiceberg.catalog import Catalog

from lakehouse.errors import LakehouseError
from lakehouse.intervals import Interval

FEATURES = "gold.features_1m"
KEY = ["venue", "symbol", "window_start"]
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


class NoFeaturesError(LakehouseError):
    """There are no features to work on."""


class InvalidRowsError(LakehouseError):
    """Rows that were given to a model are not what it takes."""

    exit_code = 2


@dataclass(frozen=True)
class Features:
    """Rows of one snapshot of the table of features.

    Attributes:
        rows: Sorted by key.
        snapshot_id: The snapshot.
    """

    rows: pd.DataFrame
    snapshot_id: int


def read_features(
    catalog: Catalog, *, spans: Sequence[Interval] = (), snapshot_id: int | None = None
) -> Features:
    """Read features.

    Args:
        catalog: The lake's catalog.
        spans: Times of ``window_start``; all without any.
        snapshot_id: The snapshot; the newest if None.

    Raises:
        NoFeaturesError: The table has no such snapshot.
    """
    table = catalog.load_table(FEATURES)
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id else table.current_snapshot()
    if snapshot is None:
        raise NoFeaturesError(
            f"{FEATURES} has no snapshot {snapshot_id} any more: train again"
            if snapshot_id
            else f"{FEATURES} is empty: run `lakehouse batch`, then `lakehouse features`"
        )
    scan = table.scan(snapshot_id=snapshot.snapshot_id)
    if spans:
        scan = scan.filter(within(spans))
    rows = scan.to_arrow().to_pandas().sort_values(KEY, ignore_index=True)
    return Features(rows, snapshot.snapshot_id)


def within(spans: Sequence[Interval]) -> str:
    """Return the condition that a row's ``window_start`` is in one of some stretches of time."""
    return " or ".join(
        f"(window_start >= '{span.start.isoformat()}' and window_start < '{span.end.isoformat()}')"
        for span in spans
    )


def inputs_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a model's inputs, in its order, as floats; what is unknown is missing.

    Args:
        rows: Rows with the columns of `INPUTS`, whatever else they have.

    Raises:
        InvalidRowsError: A column is missing, or has something in it that is no number.
    """
    if missing := [name for name in INPUTS if name not in rows.columns]:
        raise InvalidRowsError(f"rows have no {', '.join(missing)}")
    try:
        return rows[[*INPUTS]].astype("float64")
    except (TypeError, ValueError) as error:
        raise InvalidRowsError(f"a feature is no number: {error}") from error

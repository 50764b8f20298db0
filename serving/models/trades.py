"""Features of a trade: how its price and size differ from those of the trades before it.

As in ``gold.features_1m``, a trade is taken as it was reported, and no value is later than the
row's own time, here that of the trade. Trades of the very same time are not before one another:
they come in no order that means anything, and a large order makes many of them at once.

Nothing of this is stored. A trade's row is made of the quarter of an hour before it whenever it is
needed, by this function alone.
"""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from serving.models.features import TARGET, Source

TRADES = "silver.trades"
# How far back the usual is looked for, as in ``gold.features_1m``.
REACH = timedelta(minutes=15)
# Of fewer trades nobody can tell what is usual.
FEWEST = 30
TRADE_INPUTS = ("price_move", "price_zscore", "size_zscore")
# Below this variance nothing but rounding is left of equal values.
_ROUNDING = 1e-16
_INSTRUMENT = ["venue", "symbol"]

Floats = NDArray[np.float64]


def trade_features(trades: pd.DataFrame) -> pd.DataFrame:
    """Tell how unlike the trades before it each trade is.

    Args:
        trades: Reported trades of ``silver.trades``, those of `REACH` before the first that is
            asked for among them, in any order.

    Returns:
        A row per trade: ``venue``, ``symbol``, ``window_start`` (its minute), ``trade_id``,
        ``known_at`` (its time); of natural logarithms and in standard deviations of the trades
        before it: ``price_move`` from the last price, ``price_zscore`` and ``size_zscore`` from
        the mean. Null where fewer than `FEWEST` trades, or but one price or size, came before.
        ``target``, if the rows given have it.
    """
    in_order = trades.sort_values([*_INSTRUMENT, "event_time", "trade_id"], ignore_index=True)
    inputs = pd.DataFrame(np.nan, index=in_order.index, columns=[*TRADE_INPUTS])
    for places in in_order.groupby(_INSTRUMENT).indices.values():
        inputs.iloc[places] = _of_instrument(in_order.iloc[places])
    kept = in_order[[*_INSTRUMENT, "trade_id", *(n for n in (TARGET,) if n in in_order)]]
    times = in_order["event_time"]
    return pd.concat([kept, inputs], axis=1).assign(
        window_start=times.dt.floor("min"), known_at=times
    )


def _of_instrument(trades: pd.DataFrame) -> Floats:
    """Return `TRADE_INPUTS`, by column, of the trades of one instrument in their order."""
    times = trades["event_time"].to_numpy("datetime64[us]")
    before, since = (
        np.searchsorted(times, times),
        np.searchsorted(times, times - np.timedelta64(REACH)),
    )
    price = np.log(trades["reported_price"].to_numpy(np.float64))
    size = np.log(trades["reported_quantity"].to_numpy(np.float64))
    usual_price, price_spread = _usual(price, since, before)
    usual_size, size_spread = _usual(size, since, before)
    found = np.column_stack(
        [
            (price - price[np.maximum(before - 1, 0)]) / price_spread,
            (price - usual_price) / price_spread,
            (size - usual_size) / size_spread,
        ]
    )
    found[before - since < FEWEST] = np.nan
    return found


def _usual(values: Floats, since: NDArray[Any], before: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the values from a place to before another."""
    # About the first, so that squares do not lose what they are made of.
    about = values - values[0]
    count = np.maximum(before - since, 1)
    mean, square = (
        (np.concatenate([[0.0], np.cumsum(one)])[[before, since]] * [[1], [-1]]).sum(axis=0) / count
        for one in (about, about**2)
    )
    variance = square - mean**2
    spread = np.sqrt(np.where(variance > _ROUNDING, variance, np.nan))
    return mean + values[0], spread


TRADE_BY_TRADE = Source(
    table=TRADES,
    time="event_time",
    columns=(*_INSTRUMENT, "trade_id", "event_time", "reported_price", "reported_quantity"),
    inputs=TRADE_INPUTS,
    required=TRADE_INPUTS,
    remedy="`lakehouse batch`",
    features=trade_features,
    reach=REACH,
    # A busy hour is some ten million trades.
    step=timedelta(hours=1),
    where="trade_position is not null and reported_price > 0 and reported_quantity > 0",
)

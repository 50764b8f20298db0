"""The task of telling trades that look wrong: what is made wrong to judge by, and the measures.

Nobody has labelled the market's own anomalies. So in the time that is held out some trades are
changed, as reports are that go wrong, and the model is judged by where it ranks them. What is rare
and true counts against it there: of two models the comparison is fair, the number itself is low.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from serving.models.estimators import Floats, IsolatedTrades, RobustZScore
from serving.models.features import TARGET, NoFeaturesError
from serving.models.names import Model
from serving.models.pictures import precision_and_recall
from serving.models.task import Task
from serving.models.trades import TRADE_BY_TRADE

ANOMALIES = Model.ANOMALIES.value
# One in so many trades is changed.
ONE_IN = 100
# By which factor, at least and at most, price and size are: from what a market does itself in a
# minute to what it does in no year. The one, the other, or each by less.
_KINDS = np.array(
    [
        [(1.0005, 1.01), (1.0, 1.0)],
        [(1.0, 1.0), (5.0, 500.0)],
        [(1.0003, 1.003), (3.0, 30.0)],
    ]
)


def with_anomalies(trades: pd.DataFrame) -> pd.DataFrame:
    """Return trades of which some are changed, in price, in size, or in both; ``target`` tells.

    Which, and how, follows from what identifies a trade, so that it is the same whenever and with
    whichever others it is read.
    """
    key = trades[["venue", "symbol", "trade_id"]]
    drawn = pd.util.hash_pandas_object(key, index=False).to_numpy(np.uint64)
    drawn, chosen = np.divmod(drawn, np.uint64(ONE_IN))
    drawn, kind = np.divmod(drawn, np.uint64(len(_KINDS)))
    drawn, is_down = np.divmod(drawn, np.uint64(2))
    strength = (drawn % np.uint64(10_000)).astype(np.float64) / 10_000
    least, most = np.moveaxis(_KINDS[kind.astype(np.intp)], -1, 0)
    # Evenly in their logarithm.
    price, size = (least * (most / least) ** strength[:, None]).T
    is_changed = chosen == 0
    price = np.where(is_changed, np.where(is_down == 1, 1 / price, price), 1.0)
    return trades.assign(
        reported_price=trades["reported_price"] * price,
        reported_quantity=trades["reported_quantity"] * np.where(is_changed, size, 1.0),
        **{TARGET: is_changed.astype(np.float64)},
    )


def examples_of(features: pd.DataFrame) -> pd.DataFrame:
    """Return the trades of whose past enough is known, each with whether it was made wrong."""
    known = ~TRADE_BY_TRADE.unknown(features).any(axis=1)
    rows = features[known].reset_index(drop=True)
    return rows if TARGET in rows else rows.assign(**{TARGET: 0.0})


def measured(target: Floats, scores: Floats) -> dict[str, float]:
    """Return how well scores rank what is an anomaly before what is none.

    Returns:
        ``average_precision``, the area under the curve of precision over recall, and
        ``precision_at_k``, the share of anomalies among the k first, where k is their number.

    Raises:
        NoFeaturesError: There is no anomaly.
    """
    number = int(target.sum())
    if not number:
        raise NoFeaturesError("of so few trades none was made an anomaly: nothing to judge by")
    first = np.argsort(-scores, kind="stable")[:number]
    return {
        "average_precision": float(average_precision_score(target, scores)),
        "precision_at_k": float(target[first].mean()),
    }


ANOMALOUS_TRADES = Task(
    model=ANOMALIES,
    source=TRADE_BY_TRADE,
    examples=examples_of,
    candidates={"robust_zscore": RobustZScore, "isolation_forest": IsolatedTrades},
    naive="robust_zscore",
    measured=measured,
    deciding="average_precision",
    loss=lambda precision: 1 - precision,
    draw=precision_and_recall,
    # The quarter of an hour before tells what is usual; learnt is only how far from it is rare.
    days=2,
    change=with_anomalies,
)

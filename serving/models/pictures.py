"""The pictures of a run: what was said beside what happened, out of time."""

import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from serving.models.estimators import Floats
from serving.models.features import BASIS_POINTS, TARGET


def out_of_time(rows: pd.DataFrame, predicted: Floats, title: str) -> Figure:
    """Draw the predictions of volatility against what happened, and both over time.

    Args:
        rows: The examples, with ``known_at`` and what happened.
        predicted: A value for each.
        title: What was drawn.
    """
    drawn = pd.DataFrame(
        {
            "known_at": rows["known_at"],
            "happened": rows[TARGET] * BASIS_POINTS,
            "predicted": predicted * BASIS_POINTS,
        }
    )
    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, against = figure.subplots(1, 2, width_ratios=[2, 1])
    mean = drawn.groupby("known_at").mean()
    for name, style in (("happened", "-"), ("predicted", "--")):
        over_time.plot(mean.index, mean[name], style, label=name)
    over_time.set(ylabel="volatility, basis points", title=f"{title}: mean over instruments")
    over_time.tick_params(axis="x", rotation=30)
    over_time.legend()
    against.scatter(drawn["happened"], drawn["predicted"], s=8)
    top = float(drawn[["happened", "predicted"]].to_numpy().max())
    against.plot([0, top], [0, top], color="grey", linewidth=1)
    against.set(xlabel="happened", ylabel="predicted")
    return figure


def precision_and_recall(rows: pd.DataFrame, scores: Floats, title: str) -> Figure:
    """Draw which share of what ranks first is an anomaly, over the share of them that is found.

    Args:
        rows: The examples, with what is an anomaly.
        scores: A value for each.
        title: What was drawn.
    """
    precision, recall, _ = precision_recall_curve(rows[TARGET], scores)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.step(recall, precision, where="post")
    axes.set(xlabel="recall", ylabel="precision", title=title, ylim=(0, 1.05))
    return figure

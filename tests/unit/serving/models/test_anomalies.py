"""Trades that look wrong: features of a trade, how models are judged, and what is stored."""

from math import log
from statistics import fmean, pstdev

import numpy as np
import pandas as pd
import pytest
from made_market import MINUTE, START, made_tape
from pyiceberg.catalog import Catalog

from batch.runs import Run, RunLog, Status
from lakehouse.intervals import HOUR, Interval
from serving.models.anomalies import (
    ANOMALIES,
    ANOMALOUS_TRADES,
    ONE_IN,
    examples_of,
    measured,
    with_anomalies,
)
from serving.models.checks import check_day
from serving.models.features import FeatureReader, InvalidRowsError, NoFeaturesError
from serving.models.promotion import promote
from serving.models.scoring import PREDICTIONS, Scorer, score
from serving.models.task import Slices
from serving.models.tracking import Tracking
from serving.models.trades import FEWEST, REACH, TRADE_BY_TRADE, TRADE_INPUTS, trade_features
from serving.models.training import train

pytestmark = pytest.mark.serving

KEY = ["symbol", "trade_id"]


def test_a_trade_is_held_against_those_before_it() -> None:
    trades = made_tape(2, minutes=20)
    found = trade_features(trades.sample(frac=1, random_state=1)).set_index(KEY)
    for place in (5, 40, 700, 2000):
        row = trades.iloc[place]
        since = row["event_time"] - REACH
        is_before = (trades["event_time"] < row["event_time"]) & (trades["event_time"] >= since)
        before = trades[is_before & (trades["symbol"] == row["symbol"])]
        told = found.loc[(row["symbol"], row["trade_id"])]
        if len(before) < FEWEST:
            assert told[[*TRADE_INPUTS]].isna().all()
            continue
        prices, sizes = (
            [log(one) for one in before[name]] for name in ("reported_price", "reported_quantity")
        )
        price, size = log(row["reported_price"]), log(row["reported_quantity"])
        assert told["known_at"] == row["event_time"]
        assert told["price_move"] == pytest.approx((price - prices[-1]) / pstdev(prices))
        assert told["price_zscore"] == pytest.approx((price - fmean(prices)) / pstdev(prices))
        assert told["size_zscore"] == pytest.approx((size - fmean(sizes)) / pstdev(sizes))


def test_another_future_changes_no_row_before_it() -> None:
    trades, now = made_tape(3, minutes=20), pd.Timestamp(START + 12 * MINUTE)
    other = made_tape(4, minutes=20)
    shifted = pd.concat([trades[trades["event_time"] <= now], other[other["event_time"] > now]])

    def until_now(tape: pd.DataFrame) -> pd.DataFrame:
        rows = trade_features(tape)
        return rows[rows["known_at"] <= now].reset_index(drop=True)

    assert len(until_now(trades)) > 1000
    pd.testing.assert_frame_equal(until_now(trades), until_now(shifted), check_exact=True)


def test_a_row_is_the_same_wherever_reading_begins(lake: Catalog) -> None:
    reader = FeatureReader(lake, TRADE_BY_TRADE)
    whole = reader.rows(Interval(START, START + HOUR))
    part = reader.rows(Interval(START + 30 * MINUTE, START + 40 * MINUTE))
    same = whole[whole["window_start"].isin(part["window_start"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, same, rtol=1e-9)


def test_the_same_trades_are_made_wrong_whichever_others_are_read() -> None:
    trades = made_tape(5)
    changed = with_anomalies(trades)
    wrong = changed["target"] == 1
    assert wrong.mean() == pytest.approx(1 / ONE_IN, rel=0.3)
    moved = (changed["reported_price"] / trades["reported_price"] - 1).abs()
    grown = changed["reported_quantity"] / trades["reported_quantity"]
    assert (moved[wrong] > 2e-4).mean() == pytest.approx(2 / 3, abs=0.2)
    assert (grown[wrong] > 2).mean() == pytest.approx(2 / 3, abs=0.2)
    assert changed.loc[~wrong, "reported_price"].equals(trades.loc[~wrong, "reported_price"])
    later = with_anomalies(trades.iloc[3000:])
    pd.testing.assert_frame_equal(later, changed.iloc[3000:])


def test_ranks_are_measured() -> None:
    target = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    assert measured(target, np.array([5.0, 1, 4, 2, 3])) == {
        "average_precision": 1.0,
        "precision_at_k": 1.0,
    }
    found = measured(target, np.array([5.0, 4, 3, 2, 1]))
    assert found["precision_at_k"] == 0.5
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    with pytest.raises(NoFeaturesError, match="nothing to judge by"):
        measured(np.zeros(3), np.zeros(3))


def test_nothing_is_made_wrong_in_what_is_learnt(lake: Catalog) -> None:
    reader = FeatureReader(lake, TRADE_BY_TRADE)
    slices = Slices.of(reader.times(), ANOMALOUS_TRADES, None)
    learnt = ANOMALOUS_TRADES.to_learn(reader, slices.training)
    assert learnt.target.sum() == 0
    assert learnt.rows["known_at"].max() < slices.choosing.start
    assert ANOMALOUS_TRADES.to_judge(reader, slices.choosing).target.sum() > 0
    usual = examples_of(reader.rows(slices.training))
    pd.testing.assert_frame_equal(learnt.rows, usual)


def test_a_model_of_trades_takes_the_way_of_any_other(lake: Catalog, tracking: Tracking) -> None:
    report = train(lake, tracking, ANOMALOUS_TRADES)
    assert {one.candidate for one in report.scores} == set(ANOMALOUS_TRADES.candidates)
    best, other = report.scores
    assert best.chosen_by >= other.chosen_by
    # One in a hundred is an anomaly: that is what chance would come to.
    assert all(one.metrics["average_precision"] > 0.1 for one in report.scores)
    verdict = promote(lake, tracking, ANOMALOUS_TRADES)
    assert verdict.promoted
    assert verdict.challenger_value == best.metrics["average_precision"]

    interval = Interval(START, START + HOUR)
    RunLog(lake).record(
        Run("derived", "features", interval, (START, START + HOUR)), Status.PUBLISHED
    )
    champion = Scorer(tracking, ANOMALIES)
    scored = score(lake, champion, interval)
    stored = lake.load_table(PREDICTIONS).scan().to_arrow().to_pylist()
    assert scored.rows == len(stored) > 2 * 55
    assert score(lake, champion, interval).rows == 0
    rows = FeatureReader(lake, TRADE_BY_TRADE).rows(interval)
    for one in stored[::40]:
        assert (one["model"], one["version"]) == (ANOMALIES, champion.version)
        of_minute = rows[
            (rows["symbol"] == one["symbol"]) & (rows["window_start"] == one["window_start"])
        ].dropna()
        said = champion.score(of_minute.to_dict("records"))
        greatest = max(said, key=lambda row: row["value"])
        assert (greatest["trade_id"], greatest["value"]) == (one["trade_id"], one["value"])
        assert greatest["known_at"] == one["known_at"]
    with pytest.raises(InvalidRowsError, match="row 0 states no size_zscore"):
        champion.score([dict.fromkeys(TRADE_INPUTS, 0.5) | {"size_zscore": None}])

    found = {
        (one.measure, one.subject): one.value
        for one in check_day(lake, tracking, ANOMALOUS_TRADES, START.date())
    }
    assert {subject for measure, subject in found if measure == "ks"} == set(TRADE_INPUTS)
    assert 0 < found["missing", "price_move"] < 0.1
    assert found["average_precision", "champion"] > 0.1
    assert found["average_precision", "naive"] > 0.1

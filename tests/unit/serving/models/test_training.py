"""Training, promotion and scoring, on MLflow as the embedded profile has it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_market import MINUTE, START, market
from mlflow.models import Model
from pyiceberg.catalog import Catalog

from batch.runs import Run, RunLog, Status
from lakehouse.intervals import HOUR, Interval, IntervalError
from serving.models.estimators import BoostedVolatility, LastKnown
from serving.models.features import (
    FEATURES,
    INPUTS,
    MINUTES,
    FeatureReader,
    InvalidRowsError,
    NoFeaturesError,
)
from serving.models.promotion import Verdict, promote
from serving.models.scoring import PREDICTIONS, Scorer, score
from serving.models.task import MOST, Slices
from serving.models.tracking import (
    CHALLENGER,
    CHAMPION,
    EXAMPLE_ROWS,
    Tracking,
    UnknownModelError,
)
from serving.models.training import TrainingReport, train
from serving.models.volatility import NEXT_VOLATILITY, VOLATILITY, examples_of

pytestmark = pytest.mark.serving

INTERVAL = Interval(START, START + HOUR)


@pytest.fixture(scope="module")
def trained(lake: Catalog, tracking: Tracking) -> TrainingReport:
    return train(lake, tracking, NEXT_VOLATILITY)


@pytest.fixture(scope="module")
def again(lake: Catalog, tracking: Tracking, trained: TrainingReport) -> TrainingReport:
    return train(lake, tracking, NEXT_VOLATILITY, snapshot_id=trained.snapshot_id)


@pytest.fixture
def champion(lake: Catalog, tracking: Tracking, trained: TrainingReport) -> Scorer:
    if tracking.find(VOLATILITY, CHAMPION) is None:
        promote(lake, tracking, NEXT_VOLATILITY)
    return Scorer(tracking)


def test_an_example_is_a_row_and_the_minute_after_it() -> None:
    rows = market(2, minutes=30).to_pandas()
    examples = examples_of(rows[rows["window_start"] != START + 9 * MINUTE])
    # Neither the last minute has a next one, nor the one before the gap.
    assert len(examples) == 2 * (30 - 1 - 2)
    by_key = rows.set_index(["symbol", "window_start"])["realised_volatility_1m"]
    for row in examples.to_dict("records"):
        after = by_key[row["symbol"], row["window_start"] + MINUTE]
        assert row["target"] == after


def test_no_slice_knows_anything_of_a_later_one(lake: Catalog) -> None:
    reader = FeatureReader(lake, MINUTES)
    assert reader.times() == Interval(START, START + 600 * MINUTE)
    slices = Slices.of(reader.times(), NEXT_VOLATILITY, None)
    assert slices.judging == Interval(START + 480 * MINUTE, START + 600 * MINUTE)
    assert slices.choosing == Interval(START + 384 * MINUTE, slices.judging.start)
    assert slices.training == Interval(START, slices.choosing.start)
    learnt = NEXT_VOLATILITY.to_learn(reader, slices.training).rows["known_at"]
    chosen, judged = (
        NEXT_VOLATILITY.to_judge(reader, one).rows["known_at"]
        for one in (slices.choosing, slices.judging)
    )
    # The last has come true when the first of the next slice is asked.
    assert learnt.max() + MINUTE == chosen.min() == slices.choosing.start
    assert chosen.max() + MINUTE == judged.min() == slices.judging.start
    assert judged.max() + MINUTE == slices.judging.end


def test_what_is_read_and_what_is_held_out_are_bounded_in_days() -> None:
    years = Interval(START - timedelta(days=700), START)
    slices = Slices.of(years, NEXT_VOLATILITY, None)
    assert slices.judging == Interval(START - MOST, START)
    assert slices.choosing == Interval(START - 2 * MOST, START - MOST)
    assert slices.training.start == START - timedelta(days=NEXT_VOLATILITY.days)


def test_the_best_out_of_time_is_the_challenger(
    tracking: Tracking, trained: TrainingReport
) -> None:
    assert {score.candidate for score in trained.scores} == set(NEXT_VOLATILITY.candidates)
    best, *others = trained.scores
    assert best.candidate == "gradient_boosting"  # there is something to learn in this market
    assert best.skill > 0.2
    assert all(best.chosen_by < other.chosen_by for other in others)
    assert all(best.metrics["rmse_bps"] < other.metrics["rmse_bps"] for other in others)
    assert int(tracking.version(VOLATILITY, CHALLENGER).version) == best.version


def test_a_run_says_what_it_was_made_of(
    lake: Catalog, tracking: Tracking, trained: TrainingReport
) -> None:
    version = tracking.version(VOLATILITY, CHALLENGER)
    run = tracking.client.get_run(str(version.run_id))
    snapshot = lake.load_table(FEATURES).current_snapshot()
    assert snapshot is not None
    assert run.data.tags[f"snapshot.{FEATURES}"] == str(snapshot.snapshot_id)
    assert run.data.tags[f"contract.{FEATURES}"] == "1.0.0"
    assert run.data.params["window_start"] == trained.slices.judging.start.isoformat()
    assert run.data.metrics["rmse_bps"] == trained.scores[0].metrics["rmse_bps"]
    pictures = tracking.client.list_artifacts(str(version.run_id), "pictures")
    assert [one.path for one in pictures] == ["pictures/out_of_time.png"]
    model = Model.load(f"models:/{version.name}/{version.version}")
    assert model.signature is not None
    assert model.signature.inputs.input_names() == list(MINUTES.inputs)
    example = model.load_input_example()
    assert example is not None
    assert list(example.columns) == list(MINUTES.inputs)
    assert len(example) == EXAMPLE_ROWS


def test_the_same_snapshot_gives_the_same_metrics(
    trained: TrainingReport, again: TrainingReport
) -> None:
    assert [(one.candidate, one.metrics) for one in again.scores] == [
        (one.candidate, one.metrics) for one in trained.scores
    ]


def test_only_who_is_better_is_promoted(
    lake: Catalog, tracking: Tracking, trained: TrainingReport, again: TrainingReport
) -> None:
    best, worst = trained.scores[0].version, trained.scores[-1].version

    def meet(challenger: int, champion: int | None) -> Verdict:
        tracking.client.delete_registered_model_alias(VOLATILITY, CHAMPION)
        if champion is not None:
            tracking.point(VOLATILITY, CHAMPION, champion)
        tracking.point(VOLATILITY, CHALLENGER, challenger)
        verdict = promote(lake, tracking, NEXT_VOLATILITY)
        stands = int(tracking.version(VOLATILITY, CHAMPION).version)
        assert stands == (challenger if verdict.promoted else champion)
        assert (verdict.challenger, verdict.champion) == (challenger, champion)
        return verdict

    assert meet(best, None).promoted
    assert meet(best, worst).promoted
    assert not meet(worst, best).promoted
    as_good = meet(again.scores[0].version, best)
    assert as_good.challenger_value == as_good.champion_value == best_error(trained)
    assert not as_good.promoted


def best_error(report: TrainingReport) -> float:
    return report.scores[0].metrics["rmse_bps"]


def stored(lake: Catalog) -> list[dict[str, Any]]:
    return lake.load_table(PREDICTIONS).scan().to_arrow().to_pylist()


def test_predictions_are_of_the_hours_that_moved_and_are_replaced(
    lake: Catalog, champion: Scorer
) -> None:
    assert score(lake, champion, INTERVAL).rows == 0  # no features were made of it
    run = Run("derived", "features", INTERVAL, (START, START + HOUR))
    RunLog(lake).record(run, Status.PUBLISHED)
    report = score(lake, champion, INTERVAL)
    assert (report.rows, report.version) == (2 * 120, champion.version)
    first = stored(lake)
    assert len(first) == 2 * 120
    commits = len(lake.load_table(PREDICTIONS).history())
    assert score(lake, champion, INTERVAL).rows == 0, "what is the same is not written again"
    assert len(lake.load_table(PREDICTIONS).history()) == commits
    assert stored(lake) == first
    wrong = first[0] | {"value": 7.0}
    lake.load_table(PREDICTIONS).overwrite(
        pa.Table.from_pylist([wrong], lake.load_table(PREDICTIONS).schema().as_arrow())
    )
    with ThreadPoolExecutor(2) as two:  # Airflow's and one by hand
        said = two.map(lambda _: score(lake, champion, INTERVAL).rows, range(2))
    assert sum(said) == 2 * 120, "the one that commits last finds it done"
    assert sorted(map(str, stored(lake))) == sorted(map(str, first))
    features = lake.load_table(FEATURES).scan().to_arrow().to_pylist()
    by_key = {(row["symbol"], row["window_start"]): row for row in features}
    for row in first[::20]:
        of = by_key[row["symbol"], row["window_start"]]
        assert row["known_at"] == of["known_at"]
        # At once it is the same as in the table.
        assert champion.score([of])[0]["value"] == row["value"]


def test_rows_are_scored_with_what_names_them(champion: Scorer) -> None:
    rows = market(4, minutes=2).to_pylist()
    found = champion.score(rows)
    assert [row["symbol"] for row in found] == [row["symbol"] for row in rows]
    assert {(row["model"], row["version"]) for row in found} == {(VOLATILITY, champion.version)}
    assert all(row["value"] > 0 for row in found)
    bare = {name: rows[0][name] for name in INPUTS}
    assert champion.score([bare]) == [
        {"model": VOLATILITY, "version": champion.version, "value": found[0]["value"]}
    ]
    assert champion.score([]) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"spread_bps": "wide"}, "no number"),
        ({"ewma_volatility_15m": None}, "row 0 states no ewma_volatility_15m"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(
    champion: Scorer, change: dict[str, Any], problem: str
) -> None:
    row = market(4, minutes=1).to_pylist()[0]
    with pytest.raises(InvalidRowsError, match=problem):
        champion.score([row | change])
    with pytest.raises(InvalidRowsError, match="rows have no return_1m"):
        champion.score([{name: row[name] for name in INPUTS if name != "return_1m"}])


def test_what_is_not_there_is_named(lake: Catalog, tracking: Tracking) -> None:
    with pytest.raises(UnknownModelError, match="no model 'oracle', but next_minute_volatility"):
        Scorer(tracking, "oracle")
    late = Interval(START + timedelta(days=9), START + timedelta(days=10))
    with pytest.raises(NoFeaturesError, match="no example for next_minute_volatility in"):
        train(lake, tracking, NEXT_VOLATILITY, window=late)
    torn = Interval(START + HOUR, START + 2 * HOUR + timedelta(seconds=1))
    with pytest.raises(IntervalError, match="not of whole minutes"):
        train(lake, tracking, NEXT_VOLATILITY, window=torn)
    with pytest.raises(NoFeaturesError, match="no two minutes"):
        train(lake, tracking, NEXT_VOLATILITY, window=Interval(START + MINUTE, START + HOUR))
    with pytest.raises(NoFeaturesError, match="no snapshot 7"):
        train(lake, tracking, NEXT_VOLATILITY, snapshot_id=7)


def test_a_market_that_stands_still_has_a_least_volatility() -> None:
    inputs = pd.DataFrame({"ewma_volatility_15m": [0.0, 0.5]})
    assert np.array_equal(LastKnown().predict(inputs), [1e-6, 0.5])


def test_an_input_that_no_example_has_is_left_out() -> None:
    examples = examples_of(market(7, minutes=200).to_pandas().assign(spread_bps=float("nan")))
    inputs = MINUTES.inputs_of(examples)
    model = BoostedVolatility().fit(inputs, examples["target"].to_numpy())
    assert np.array_equal(model.predict(inputs.assign(spread_bps=1.5)), model.predict(inputs))

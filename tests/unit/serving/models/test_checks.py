"""A day's drift and quality: small where the day is like those before, and told where it is not."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from made_market import START, market
from pyiceberg.catalog import Catalog
from typer.testing import CliRunner

from batch.runs import Run, RunLog, Status
from lakehouse.intervals import HOUR, Interval
from lakehouse.settings import Settings, get_settings
from serving.models.checks import CHECKS
from serving.models.cli import app
from serving.models.features import FEATURES, INPUTS, NoFeaturesError
from serving.models.tracking import Tracking, UnknownModelError
from serving.models.volatility import NEXT_VOLATILITY

pytestmark = pytest.mark.serving

DAY = timedelta(days=1)
INTERVAL = Interval(START + DAY, START + 2 * DAY)


def later(rows: pa.Table, days: int) -> pa.Table:
    """The same rows some days later."""
    for name in ("window_start", "known_at"):
        moved = pc.add(rows[name], pa.scalar(days * DAY))
        rows = rows.set_column(rows.schema.get_field_index(name), name, moved)
    return rows.cast(market(1, minutes=1).schema)


def named(checks: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    return {(check["measure"], check["subject"]): check["value"] for check in checks}


@pytest.fixture
def verb(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Run `lakehouse models …` on the home; return the JSON that it prints."""

    def run(*words: str) -> Any:
        said = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert said.exit_code == 0, said.output
        return json.loads(said.stdout)

    monkeypatch.setenv("LAKEHOUSE_HOME", str(home.home))
    get_settings.cache_clear()
    yield run
    get_settings.cache_clear()


def test_a_day_is_held_against_training(
    lake: Catalog, tracking: Tracking, verb: Callable[..., Any]
) -> None:
    with pytest.raises(UnknownModelError, match="no champion"):
        verb("drift", "--day", "2024-08-08")
    best = verb("train")["scores"][0]
    assert verb("promote")["promoted"]
    features = lake.load_table(FEATURES)
    features.append(later(market(5), 1))
    features.append(later(market(6, level=3), 2))
    hours = tuple(INTERVAL.start + number * HOUR for number in range(10))
    RunLog(lake).record(Run("derived", "features", INTERVAL, hours), Status.PUBLISHED)
    within = ("--start", INTERVAL.start.isoformat(), "--end", INTERVAL.end.isoformat())
    assert verb("score", *within)["rows"] == 2 * 600

    usual = named(verb("drift", "--day", "2024-08-09"))
    assert {subject for measure, subject in usual if measure == "missing"} == set(INPUTS)
    assert usual["ks", "ewma_volatility_15m"] < 0.15
    assert usual["missing", "spread_bps"] == pytest.approx(0.02)
    assert 0 < usual["rmse_bps", "champion"] < usual["rmse_bps", "naive"]

    unusual = named(verb("drift", "--day", "2024-08-10"))
    assert unusual["ks", "ewma_volatility_15m"] > 0.4
    # What has no level has not drifted.
    assert unusual["ks", "order_flow_imbalance_1m"] < 0.15
    assert unusual["rmse_bps", "champion"] > 2 * usual["rmse_bps", "champion"]
    with pytest.raises(NoFeaturesError, match="no features of 2024-08-18"):
        verb("drift", "--day", "2024-08-18")

    recorded = lake.load_table(CHECKS).scan().to_arrow().to_pylist()
    assert {str(row["business_date"]) for row in recorded} == {"2024-08-09", "2024-08-10"}
    assert len(recorded) == len(usual) + len(unusual)
    listed = {one["version"]: one for one in verb("list")}
    assert len(listed) == len(NEXT_VOLATILITY.candidates)
    assert listed[best["version"]]["aliases"] == ["challenger", "champion"]
    assert listed[best["version"]]["metrics"]["rmse_bps"] == best["metrics"]["rmse_bps"]
    shown = CliRunner().invoke(app, ["list"])
    assert "gradient_boosting" in shown.stdout


@pytest.mark.parametrize(
    "words", [("drift", "--day", "yesterday"), ("train", "--window-start", "2024-08-08")]
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2

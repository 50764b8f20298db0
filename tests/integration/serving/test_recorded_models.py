"""Models trained on the recorded sample: docs/models.md has the table as it comes out."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import schemas
from demo.oracle import events_from_sample
from demo.tour import sample_files
from lakehouse.catalog import load_catalog
from lakehouse.infra import CHECKOUT
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from lakehouse.transforms.features import features_1m
from schemas import tables
from serving.models.features import FEATURES
from serving.models.tracking import Tracking
from serving.models.training import TrainingReport, train

pytestmark = [pytest.mark.integration, pytest.mark.serving]

PAGE = CHECKOUT / "docs" / "models.md"
# Six minutes to learn from, four to be judged by; of the one after them there are five seconds.
WINDOW = Interval(datetime(2024, 8, 9, 0, 1, tzinfo=UTC), datetime(2024, 8, 9, 0, 5, tzinfo=UTC))
TRADES = pa.schema(
    {
        "venue": pa.string(),
        "symbol": pa.string(),
        "trade_id": pa.int64(),
        "event_time": pa.timestamp("us", "UTC"),
        "aggressor_side": pa.string(),
        "price": pa.decimal128(18, 8),
        "quantity": pa.decimal128(18, 8),
    }
)


@pytest.fixture(scope="module")
def trained(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> TrainingReport:
    events = [dict(one) for one in events_from_sample(sample_files())]
    trades = spark.createDataFrame(pa.Table.from_pylist(events, TRADES)).selectExpr(
        *TRADES.names,
        "price AS reported_price",
        "quantity AS reported_quantity",
        "1L AS trade_position",
    )
    spreads = spark.createDataFrame(
        schemas.contract("gold.spreads_1m").arrow_schema().empty_table()
    )
    settings = Settings(home=Path(tmp_path_factory.mktemp("recorded")))
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(FEATURES)])
    features = catalog.load_table(FEATURES)
    names = features.schema().as_arrow().names
    made = features_1m(trades, spreads).select(*names).toArrow()
    features.append(made.cast(features.schema().as_arrow()))
    return train(catalog, Tracking(settings), window=WINDOW)


def test_the_page_has_the_table_as_it_comes_out(trained: TrainingReport) -> None:
    told = {
        cells[0].strip("`"): [float(cell) for cell in cells[1:]]
        for line in PAGE.read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4
        and cells[0].startswith("`")
    }
    found = {score.candidate: [*score.metrics.values(), score.skill] for score in trained.scores}
    assert told.keys() == found.keys()
    for candidate, values in found.items():
        assert told[candidate] == pytest.approx(values, abs=0.006), candidate
    said = f"{trained.trained_on} examples"
    assert said in PAGE.read_text()
    assert f"the {trained.judged_by} after them" in PAGE.read_text()

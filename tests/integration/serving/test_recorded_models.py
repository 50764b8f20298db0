"""Models trained on the recorded sample: docs/models.md has the table as it comes out."""

from collections.abc import Mapping
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
from serving.models.registry import TASKS
from serving.models.tracking import Tracking
from serving.models.trades import TRADES
from serving.models.training import TrainingReport, train

pytestmark = [pytest.mark.integration, pytest.mark.serving]

PAGE = CHECKOUT / "docs" / "models.md"
# Six minutes to learn from and to choose by, four to be judged by; of the one after them there are
# five seconds.
WINDOW = Interval(datetime(2024, 8, 9, 0, 1, tzinfo=UTC), datetime(2024, 8, 9, 0, 5, tzinfo=UTC))
TAPE = pa.schema(
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
def trained(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, TrainingReport]:
    events = [dict(one) for one in events_from_sample(sample_files())]
    tape = spark.createDataFrame(pa.Table.from_pylist(events, TAPE)).selectExpr(
        *TAPE.names,
        "price AS reported_price",
        "quantity AS reported_quantity",
        "1L AS trade_position",
        "'TRADED' AS state",
        "'BASE' AS quantity_unit",
        "0 AS log_partition",
        "1L AS last_offset",
    )
    spreads = spark.createDataFrame(
        schemas.contract("gold.spreads_1m").arrow_schema().empty_table()
    )
    settings = Settings(home=Path(tmp_path_factory.mktemp("recorded")))
    catalog, tracking = load_catalog(settings), Tracking(settings)
    tables.apply(catalog, [schemas.contract(name) for name in (FEATURES, TRADES)])
    for name, rows in ((FEATURES, features_1m(tape, spreads)), (TRADES, tape)):
        table = catalog.load_table(name)
        schema = table.schema().as_arrow()
        known = [column for column in schema.names if column in rows.columns]
        made = rows.select(*known).toArrow()
        for column in set(schema.names) - set(known):
            made = made.append_column(column, pa.nulls(len(made), schema.field(column).type))
        table.append(made.select(schema.names).cast(schema))
    return {name: train(catalog, tracking, task, window=WINDOW) for name, task in TASKS.items()}


def test_the_page_has_the_tables_as_they_come_out(trained: Mapping[str, TrainingReport]) -> None:
    told = {
        cells[0].strip("`"): [float(cell) for cell in cells[1:]]
        for line in PAGE.read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
        and cells[0].startswith("`")
    }
    found = {
        score.candidate: [score.chosen_by, *score.metrics.values(), score.skill]
        for report in trained.values()
        for score in report.scores
    }
    assert told.keys() == found.keys()
    for candidate, values in found.items():
        assert told[candidate] == pytest.approx(values, abs=0.006), (candidate, found)
    for report in trained.values():
        said = (
            f"{report.trained_on} examples, chosen by the {report.chosen_by} after them, judged by "
            f"the {report.judged_by} after those"
        )
        assert said in PAGE.read_text()

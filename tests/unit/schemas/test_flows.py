"""What is told of a run's lineage names what is there, so that runs can be joined to a graph."""

import pytest
from lineage_graph import origins
from openlineage.client.naming.dataset import Kafka, LocalFileSystem
from pyiceberg.catalog import Catalog

from lakehouse.catalog import load_catalog
from lakehouse.lineage import DatasetName
from lakehouse.settings import Settings
from schemas import landed_topics, tables
from schemas.flows import flow_into

BATCH = ("silver.trades", "gold.bars_1m", "gold.bars_1h", "gold.market_daily")


@pytest.fixture
def lake(settings: Settings) -> tuple[Settings, Catalog]:
    settings = settings.model_copy(update={"kafka_bootstrap": "one:9092,two:9093"})
    catalog = load_catalog(settings)
    tables.apply(catalog)
    return settings, catalog


def named(of: DatasetName) -> tuple[str, str]:
    return of.namespace, of.name


def test_names_are_those_of_the_convention(lake: tuple[Settings, Catalog]) -> None:
    settings, catalog = lake
    flow = flow_into(settings, catalog=catalog, tables=["bronze.market_trades"])
    topic = Kafka("one", "9092", "market.trades")
    assert [one.name for one in flow.inputs] == [
        DatasetName(topic.get_namespace(), topic.get_name())
    ]
    (bronze,) = flow.outputs
    place = LocalFileSystem(str(settings.home / "warehouse" / "bronze" / "market_trades"))
    assert bronze.name == DatasetName(place.get_namespace(), place.get_name())


def test_a_gold_column_is_followed_to_its_topic_through_what_two_runs_tell(
    lake: tuple[Settings, Catalog],
) -> None:
    settings, catalog = lake
    flows = [
        flow_into(settings, catalog=catalog, tables=landed_topics().values()),
        flow_into(settings, catalog=catalog, tables=BATCH),
    ]
    made_of = {
        (named(written.name), column): [(named(of), source) for of, source in sources]
        for flow in flows
        for written in flow.outputs
        for column, sources in written.made_of.items()
    }
    (daily,) = [one.name for one in flows[1].outputs if one.alias == "gold.market_daily"]
    topic = ("kafka://one:9092", "market.trades")
    assert origins(made_of, (named(daily), "vwap")) == {
        (topic, f"value.{field}") for field in ("price", "quantity", "contract_size")
    }


def test_a_run_reads_what_its_columns_are_made_of(lake: tuple[Settings, Catalog]) -> None:
    settings, catalog = lake
    flow = flow_into(
        settings, catalog=catalog, tables=["ops.reconciliations"], reads=["silver.trades"]
    )
    assert [one.alias for one in flow.inputs] == ["silver.trades"]
    assert [one.made_of for one in flow.outputs] == [{}]
    speed = flow_into(settings, catalog=catalog, tables=["silver.trades_rt", "gold.bars_1m_rt"])
    assert [one.alias or one.name.name for one in speed.inputs] == [
        "market.trades",
        "silver.trades_rt",
    ]

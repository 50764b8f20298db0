"""What the contracts say each column follows from is what the transforms make it of."""

from collections.abc import Callable, Mapping

import pytest
from plan_lineage import ROWS, column_sources
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.transforms import (
    bars,
    customers,
    features,
    fills,
    positions,
    quotes,
    reference,
    trades,
)
from lakehouse.transforms.events import decode
from schemas import contract, contracts
from schemas.registry import ContractRegistry
from schemas.topic_schemas import topic_schemas

Tables = Mapping[str, DataFrame]


def decoded(tables: Tables, source: str) -> DataFrame:
    (topic,) = contract(source).topics
    found = topic_schemas(ContractRegistry(), topic.name)
    return decode(
        tables[source],
        writer_schemas=found.writers,
        reader_schema=found.reader,
        max_payload_bytes=1_000,
    )


def resolved_trades(tables: Tables) -> DataFrame:
    carried = contract("silver.trades").carried
    events = trades.validate(decoded(tables, "bronze.market_trades"))
    return trades.resolve(trades.observe(events, carried), carried)


def resolved_fills(tables: Tables) -> DataFrame:
    carried = contract("silver.fills").carried
    events = fills.validate(decoded(tables, "bronze.oms_fills"))
    return fills.resolve(fills.observe(events, carried), carried)


def minutes(tables: Tables) -> DataFrame:
    carried = contract("gold.bars_1m").carried
    return bars.bars_1m(bars.bars_1s(tables["silver.trades"], carried=carried), carried)


def activity(tables: Tables) -> DataFrame:
    of_fills = tables["silver.fills"].where(fills.counts(F.col("state")))
    return customers.customer_activity_daily(of_fills, tables["silver.customers"])


MADE: Mapping[str, Callable[[Tables], DataFrame]] = {
    "silver.trades": resolved_trades,
    "silver.quotes": lambda tables: quotes.resolve(
        quotes.observe(quotes.validate(decoded(tables, "bronze.market_quotes")))
    ),
    "silver.fills": resolved_fills,
    "silver.customers": lambda tables: customers.history(
        customers.observe_changes(
            customers.validate_changes(decoded(tables, "bronze.crm_customers"))
        )
    ),
    "silver.instruments": lambda tables: reference.instruments(tables["bronze.files_instruments"]),
    "gold.bars_1m": minutes,
    "gold.bars_1h": lambda tables: bars.bars_1h(
        tables["gold.bars_1m"], contract("gold.bars_1h").carried
    ),
    "gold.market_daily": lambda tables: bars.market_daily(
        tables["gold.bars_1m"], contract("gold.market_daily").carried
    ),
    "gold.spreads_1m": lambda tables: quotes.spreads_1m(tables["silver.quotes"]),
    "gold.features_1m": lambda tables: features.features_1m(
        tables["silver.trades"], tables["gold.spreads_1m"]
    ),
    "gold.positions": lambda tables: positions.positions(tables["silver.fills"]),
    "gold.customer_activity_daily": activity,
    "gold.eod_bars": lambda tables: reference.eod_bars(tables["bronze.files_eod_bars"]),
}


# Whose rows are counted, where rows are.
COUNTED = {
    "gold.spreads_1m": ["silver.quotes"],
    "gold.customer_activity_daily": ["silver.fills"],
}


@pytest.fixture(scope="module")
def tables(spark: SparkSession) -> Tables:
    """Every table that another is made of, without rows."""
    return {
        name: spark.createDataFrame(contracts()[name].arrow_schema().empty_table())
        for name in contracts()
        if name.startswith(("bronze.", "silver.", "gold."))
    }


def test_every_table_that_batch_makes_is_made_here() -> None:
    assert set(MADE) == {
        name for name, table in contracts().items() if table.sources and not table.batch_twin
    }


@pytest.mark.parametrize("table", MADE)
def test_columns_follow_from_what_their_contract_says(tables: Tables, table: str) -> None:
    found = column_sources(MADE[table](tables), tables)
    stated = {column.name: set(column.sources) for column in contract(table).columns}
    # A count of rows follows from what tells these rows from one another.
    rows = {f"{of}.{name}" for of in COUNTED.get(table, ()) for name in contract(of).key}
    assert {name: rows if found[name] == {ROWS} else found[name] for name in stated} == stated

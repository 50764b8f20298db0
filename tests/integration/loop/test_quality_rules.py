"""Every rule that a contract ships: it holds on sound rows, and a row made to break it does."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

import schemas
from batch.quality import Finding, check
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from schemas import tables
from schemas.quality import QualityRule

pytestmark = pytest.mark.integration

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = datetime(2024, 8, 9, 6, tzinfo=UTC)
INTERVAL = Interval(START, START + HOUR)
AT, LONG_AGO = START + 30 * MINUTE, START - 2 * HOUR
DAY = date(2024, 8, 9)
# What a rule on volume asks for before it speaks.
HOURS_BEFORE = 24

Row = dict[str, Any]
Change = Callable[[list[Row]], list[Row]]

# Sound values of columns, whatever table they are in; others are null.
VALUES: Row = {
    **{"venue": "binance_spot", "symbol": "BTCUSDT", "customer_id": "C-1"},
    **{"trade_id": 1, "update_id": 1, "fill_id": 1, "order_id": 1},
    **{"state": "ACTIVE", "side": "BUY", "time_source": "EXCHANGE", "quantity_unit": "BASE"},
    **{"event_time": AT, "window_start": AT, "business_date": DAY, "loaded_at": AT},
    **{"price": 100, "quantity": 2, "notional": 200, "fee": 1, "fees": 1},
    **{"bid_price": 99, "bid_quantity": 1, "ask_price": 101, "ask_quantity": 1},
    **{"open": 100, "high": 101, "low": 99, "close": 100, "volume": 2, "vwap": 100},
    **{"open_mid": 100, "high_mid": 101, "low_mid": 99, "close_mid": 100},
    **{"spread": 2, "min_spread": 1, "max_spread": 3, "quoted_microseconds": 1, "quote_count": 1},
    **{"first_trade_at": AT, "last_trade_at": AT, "trade_count": 150},
    **{"first_quote_at": AT, "last_quote_at": AT, "quote_position": 1},
    **{"first_fill_at": AT, "last_fill_at": AT, "fill_count": 1, "symbol_count": 1},
    **{"average_cost": 100, "cost_basis": 200, "realised_pnl": 0},
    **{"bought_quantity": 2, "bought_notional": 200, "sold_quantity": 0, "sold_notional": 0},
    **{"is_current": True, "segment": "RETAIL", "country": "DE", "risk_class": "LOW"},
    **{"status": "ACTIVE", "source_position": 1, "log_partition": 0, "last_offset": 1},
    **{"base_currency": "BTC", "quote_currency": "USDT", "kind": "SPOT"},
    **{"tick_size": 1, "lot_size": 1, "file_name": "a.csv", "checksum": "a"},
    **{"known_at": AT + MINUTE, "return_1m": 0.1, "return_5m": -0.1, "spread_bps": 1.0},
    **dict.fromkeys(("realised_volatility_1m", "realised_volatility_5m"), 0.1),
    **{"ewma_volatility_15m": 0.1, "trade_intensity_1m": 2.5, "trade_intensity_5m": 0.5},
    **{"order_flow_imbalance_1m": 1.0, "order_flow_imbalance_5m": -1.0, "quote_intensity_1m": 0.0},
}


def row(table: str, **values: Any) -> Row:
    """A sound row of a table, with some other values."""
    return {name: VALUES.get(name) for name in schemas.contract(table).column_names} | values


def arrow(table: str, rows: list[Row]) -> pa.Table:
    schema = schemas.contract(table).arrow_schema()
    exact = [
        {name: Decimal(value) if is_decimal(schema, name, value) else value for name, value in one}
        for one in (values.items() for values in rows)
    ]
    return pa.Table.from_pylist(exact, schema)


def is_decimal(schema: pa.Schema, name: str, value: object) -> bool:
    return pa.types.is_decimal(schema.field(name).type) and value is not None


ENDED = {"valid_from": START, "valid_to": AT, "is_current": False}
SOUND: dict[str, list[Row]] = {
    "silver.trades": [row("silver.trades", trade_id=number) for number in range(3)],
    "silver.quotes": [row("silver.quotes", update_id=number) for number in range(2)],
    "silver.fills": [row("silver.fills", fill_id=number) for number in range(2)],
    "silver.customers": [
        row("silver.customers", **ENDED),
        row("silver.customers", valid_from=AT),
    ],
    "silver.instruments": [
        row("silver.instruments", valid_from=date(2024, 1, 1), valid_to=DAY, is_current=False),
        row("silver.instruments", valid_from=DAY),
    ],
    "gold.bars_1m": [row("gold.bars_1m")],
    "gold.bars_1h": [row("gold.bars_1h", window_start=START)],
    "gold.market_daily": [row("gold.market_daily")],
    "gold.spreads_1m": [row("gold.spreads_1m")],
    "gold.positions": [row("gold.positions")],
    "gold.features_1m": [row("gold.features_1m")],
    "gold.customer_activity_daily": [row("gold.customer_activity_daily")],
    "gold.eod_bars": [
        row("gold.eod_bars", symbol=symbol, business_date=DAY - timedelta(days=days))
        for days in range(10)
        for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    ],
}


def history() -> dict[str, list[Row]]:
    """What was published before: a day of usual hours, and what others refer to."""
    hours = [START - number * HOUR for number in range(1, HOURS_BEFORE + 1)]
    return {
        "gold.bars_1h": [row("gold.bars_1h", window_start=hour) for hour in hours],
        "gold.spreads_1m": [
            row("gold.spreads_1m", window_start=hour, quote_count=100) for hour in hours
        ],
        "silver.fills": [
            row("silver.fills", event_time=hour, fill_id=number)
            for hour in hours
            for number in range(110)
        ],
        "silver.customers": [
            row("silver.customers", valid_from=hour, customer_id=f"C-{number}")
            for hour in hours
            for number in range(1, 111)
        ],
        "silver.instruments": [
            row("silver.instruments", symbol=symbol, valid_from=date(2000, 1, 1))
            for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")
        ],
        "gold.customer_activity_daily": [],
    }


def first(**values: Any) -> Change:
    """The first row has other values."""
    return lambda rows: [rows[0] | values, *rows[1:]]


def all_(**values: Any) -> Change:
    """All rows have other values."""
    return lambda rows: [one | values for one in rows]


def twice(rows: list[Row]) -> list[Row]:
    """The first row is there twice."""
    return [*rows, rows[0]]


def few(rows: list[Row]) -> list[Row]:
    """Most rows are missing."""
    return rows[:1]


def many(number: int, **values: Any) -> Change:
    """There are many rows more."""
    return lambda rows: [*rows, *[rows[-1] | values] * number]


def late(**values: datetime) -> list[Change]:
    return [all_(**values)]


def bars(unit: str, ends: datetime) -> dict[str, list[Change]]:
    """How to break the rules that all bars of trades have."""
    return {
        "prices_are_in_their_range": [first(high=98), first(low=102), first(open=150)],
        "average_price_is_in_the_range": [first(vwap=150), first(vwap=50)],
        "bars_are_possible": [
            *[first(volume=-1), first(notional=-1), first(trade_count=-1), first(low=0)],
            *[first(trade_count=0), first(open=None)],
        ],
        f"trades_are_of_their_{unit}": [
            first(last_trade_at=ends),
            first(first_trade_at=AT - 24 * HOUR),
            first(last_trade_at=None),
        ],
        "newest_trade_is_recent": late(last_trade_at=LONG_AGO),
    }


DOGE = [first(symbol="DOGEUSDT")]
# By table and rule; all have a rule on their key besides.
BROKEN: dict[str, dict[str, list[Change]]] = {
    "silver.trades": {
        "trades_that_count_have_a_value": [first(price=0), first(price=None), first(quantity=-1)],
        "newest_trade_is_recent": late(event_time=LONG_AGO),
        "volume_is_usual": [few, many(50 * 150)],
    },
    "silver.quotes": {
        "no_quote_is_crossed": [first(bid_price=102)],
        "prices_and_quantities_are_positive": [first(bid_price=0), first(ask_quantity=0)],
        "newest_quote_is_recent": late(event_time=LONG_AGO),
        "volume_is_usual": [few, many(50 * 100)],
    },
    "silver.fills": {
        "customers_are_known": [first(customer_id="C-999")],
        "fills_that_count_have_a_value": [first(fee=None), first(side="HOLD"), first(quantity=0)],
        "newest_fill_is_recent": late(event_time=LONG_AGO),
        "volume_is_usual": [few, many(100 * 110)],
    },
    "silver.customers": {
        "attributes_are_known": [
            *[first(segment="PET"), first(status="BORED"), first(risk_class="NONE")],
            *[first(country="DEU"), first(country="d1")],
        ],
        "states_last": [first(valid_to=START), first(is_current=True)],
        "states_do_not_overlap": [first(valid_to=AT + MINUTE), first(valid_to=None)],
        "newest_change_is_recent": late(valid_from=LONG_AGO, valid_to=LONG_AGO),
        "volume_is_usual": [few, many(100 * 110)],
    },
    "silver.instruments": {
        "steps_are_positive": [first(tick_size=0), first(lot_size=-1), first(contract_size=0)],
        "stretches_last": [first(valid_to=date(2023, 1, 1)), first(valid_to=None)],
        "one_row_is_current": [all_(is_current=False), all_(is_current=True)],
        "newest_file_is_recent": late(loaded_at=LONG_AGO),
    },
    "gold.bars_1m": bars("minute", AT + MINUTE),
    "gold.bars_1h": bars("hour", START + HOUR)
    | {"volume_is_usual": [first(trade_count=1), first(trade_count=100 * 150 + 1)]},
    "gold.market_daily": bars("day", AT + 24 * HOUR)
    | {"instruments_are_known": [*DOGE, first(business_date=date(1999, 12, 31))]},
    "gold.spreads_1m": {
        "spread_is_in_its_range": [first(spread=4), first(spread=0)],
        "middles_are_in_their_range": [first(high_mid=98), first(close_mid=50)],
        "spreads_are_possible": [
            *[first(min_spread=-1), first(low_mid=0), first(quote_count=0)],
            *[first(quoted_microseconds=0), first(quoted_microseconds=60_000_001)],
        ],
        "quotes_are_of_their_minute": [
            first(last_quote_at=AT + MINUTE),
            first(first_quote_at=AT - MINUTE),
        ],
        "newest_quote_is_recent": late(last_quote_at=LONG_AGO),
    },
    "gold.features_1m": {
        "rows_are_of_the_end_of_their_minute": [first(known_at=AT)],
        "features_are_possible": [
            *[first(trade_count=0), first(spread_bps=-1.0), first(quote_intensity_1m=-1.0)],
            *[first(order_flow_imbalance_1m=1.1), first(ewma_volatility_15m=float("nan"))],
            *[first(return_1m=float("inf")), first(realised_volatility_1m=-0.1)],
        ],
        "newest_row_is_recent": late(known_at=LONG_AGO),
    },
    "gold.positions": {
        "quantity_is_bought_less_sold": [first(sold_quantity=1)],
        "what_is_held_has_a_cost": [first(cost_basis=-200), first(average_cost=None)],
        "positions_are_possible": [first(sold_notional=-1), first(fill_count=0)],
        "instruments_are_known": DOGE,
        "newest_fill_is_recent": late(last_fill_at=LONG_AGO),
    },
    "gold.customer_activity_daily": {
        "activity_is_possible": [first(fill_count=0), first(symbol_count=2)],
        "notional_is_bought_and_sold": [first(sold_notional=1)],
        "fills_are_of_their_day": [first(last_fill_at=AT + 24 * HOUR)],
        "customers_are_known": [first(segment="UNKNOWN")],
        "newest_fill_is_recent": late(last_fill_at=LONG_AGO),
    },
    "gold.eod_bars": {
        "prices_are_in_their_range": [first(high=98), first(low=102), first(close=150)],
        "bars_are_possible": [first(close=0), first(adjusted_close=0), first(volume=-1)],
        "instruments_are_known": DOGE,
        "newest_file_is_recent": late(loaded_at=LONG_AGO),
        "volume_is_usual": [lambda rows: rows[2:], many(4, business_date=DAY)],
    },
}

RULED = sorted(name for name, table in schemas.contracts().items() if table.quality)
RULES = [(table, rule) for table in RULED for rule in schemas.contract(table).quality]
CASES = [
    pytest.param(table, rule, change, id=f"{table}-{rule.name}-{number}")
    for table, rule in RULES
    for number, change in enumerate(
        ({"key_is_unique": [twice]} | BROKEN.get(table, {})).get(rule.name, [])
    )
]
BY_HOURS = [one for one in RULES if one[1].name == "volume_is_usual" and one[0] != "gold.eod_bars"]


@pytest.fixture(scope="module")
def published(spark: SparkSession, spark_settings: Settings) -> SparkSession:
    """A session in whose lake the tables that rules refer to have a history."""
    catalog: Catalog = load_catalog(spark_settings)
    before = history()
    for name in before:
        if catalog.table_exists(name):
            catalog.drop_table(name)
    tables.apply(catalog, [schemas.contract(name) for name in before])
    for name, rows in before.items():
        if rows:
            catalog.load_table(name).append(arrow(name, rows))
    return spark


def ask(
    spark: SparkSession,
    table: str,
    rows: list[Row],
    *rules: QualityRule,
    interval: Interval = INTERVAL,
) -> list[Finding]:
    contract = schemas.contract(table)
    frame = spark.createDataFrame(arrow(table, rows))
    return check(replace(contract, quality=rules or contract.quality), frame, interval)[0]


def test_every_rule_has_a_row_that_breaks_it() -> None:
    assert {(table, rule.name) for table, rule in RULES} == {
        (table, name) for table, cases in BROKEN.items() for name in ("key_is_unique", *cases)
    }


@pytest.mark.parametrize("table", RULED)
def test_every_rule_holds_on_sound_rows(published: SparkSession, table: str) -> None:
    findings = ask(published, table, SOUND[table])
    assert [(one.rule.name, one.found) for one in findings if not one.holds] == []
    silent = [one.rule.name for one in findings if one.found is None]
    assert silent == [], "rules that have nothing to say hold on anything"


@pytest.mark.parametrize(("table", "rule", "change"), CASES)
def test_every_rule_is_broken_by_a_row_made_to_break_it(
    published: SparkSession, table: str, rule: QualityRule, change: Change
) -> None:
    (finding,) = ask(published, table, change(SOUND[table]), rule)
    assert not finding.holds, finding.found


@pytest.mark.parametrize("table", [table for table, _ in BY_HOURS])
def test_volume_is_not_judged_by_less_than_a_day(published: SparkSession, table: str) -> None:
    (rule,) = (rule for name, rule in BY_HOURS if name == table)
    a_day_less_an_hour = Interval(START - HOUR, START + HOUR)
    (finding,) = ask(published, table, SOUND[table], rule, interval=a_day_less_an_hour)
    assert finding.found is None
    assert finding.holds


@pytest.mark.parametrize("table", ["silver.trades", "silver.quotes", "gold.bars_1h"])
def test_an_hour_that_is_not_over_is_not_judged(published: SparkSession, table: str) -> None:
    (rule,) = (rule for name, rule in BY_HOURS if name == table)
    half = Interval(START, AT)
    (finding,) = ask(published, table, few(SOUND[table]), rule, interval=half)
    assert finding.found is None


@pytest.mark.parametrize("table", RULED)
def test_a_table_has_rules_on_its_key_and_on_the_freshness_that_it_promises(table: str) -> None:
    contract = schemas.contract(table)
    (unique,) = (rule for rule in contract.quality if rule.dimension == "uniqueness")
    assert all(column in unique.query for column in contract.key)
    (timely,) = (rule for rule in contract.quality if rule.dimension == "timeliness")
    assert timely.expected.text == f"<= {contract.freshness_seconds:.0f}"


def test_all_that_batch_publishes_has_rules() -> None:
    published = {
        name
        for name, table in schemas.contracts().items()
        if table.namespace in ("silver", "gold") and table.batch_twin is None
    }
    # What models say is measured day by day, in ops.model_checks.
    assert set(RULED) == published - {"gold.predictions"}

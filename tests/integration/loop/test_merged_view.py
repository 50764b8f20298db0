"""The first promise on the real layers: whatever happens in whatever order, the view is exact.

Each step is one of the platform's own, on real tables and the real engines. After every step each
row of the merged view must be what one naive pass over the log gives as of the position that the
row states, and no layer may know more of a key than the view shows.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_histories import Step, drain, few_histories, histories, play
from pyspark.sql import Column, SparkSession
from small_lake import BEFORE, EPOCH, SmallLake, trade

import batch.steps
import serving.views
from batch.inputs import ingested_in
from demo.oracle import (
    History,
    WindowKey,
    compare,
    naive_bars,
    naive_days,
    naive_hours,
    naive_trades,
)
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from serving.engine import SqlEngine
from speed.windows import MOST_PARTS_OF_A_MINUTE, REMEMBERED_MINUTES, WindowMemory

pytestmark = pytest.mark.integration

# The minute after an hour and a day have turned.
AFTER = datetime(2024, 8, 9, 0, 0, 10, tzinfo=UTC)
# The most that any layer has seen of a key.
POSITIONS = """
    SELECT venue, symbol, {key}, max(last_offset) AS position
    FROM (SELECT * FROM {table} UNION ALL BY NAME SELECT * FROM {table}_rt) AS layers
    GROUP BY ALL
"""


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> SmallLake:
    return SmallLake(spark, load_catalog(spark_settings), spark_settings)


def assert_exact(lake: SmallLake) -> None:
    """Compare merged minutes and trades with the oracle, each as of the position that it states."""
    engine = SqlEngine(lake.catalog)
    history = History(lake.events())
    bars, trades = {}, {}
    for row in engine.query(POSITIONS.format(table="gold.bars_1m", key="window_start")).to_pylist():
        window = WindowKey(row["venue"], row["symbol"], row["window_start"])
        bar = history.bar(window, as_of=row["position"])
        if bar is not None and bar.trade_count:
            bars[window] = bar
    for row in engine.query(
        POSITIONS.format(
            table="silver.trades", key="trade_id, date_trunc('minute', event_time) AS minute"
        )
    ).to_pylist():
        window = WindowKey(row["venue"], row["symbol"], row["minute"])
        for known in history.trades(window, as_of=row["position"]):
            if known.trade_id == row["trade_id"] and known.counts:
                trades[window, known.trade_id] = known
    assert_views(engine, bars=bars, trades=trades)
    engine.close()


def assert_complete(lake: SmallLake) -> None:
    """Compare merged minutes and trades with the oracle over the whole log."""
    engine, log = SqlEngine(lake.catalog), lake.events()
    assert_views(engine, bars=naive_bars(log), trades=naive_trades(log))
    engine.close()


def assert_views(engine: SqlEngine, *, bars: Mapping[Any, Any], trades: Mapping[Any, Any]) -> None:
    for view, key, expected in (
        ("bars_1m", ("venue", "symbol", "window_start"), bars),
        ("trades", ("venue", "symbol", "trade_id", "event_time"), trades),
    ):
        actual = engine.query(f"SELECT * FROM serving.{view}").to_pylist()
        verdict = compare(expected, actual, key=key, ignore=("log_partition",))
        assert verdict.equal, f"serving.{view}: {verdict}"


kinds = st.sampled_from(["TRADE", "TRADE", "TRADE", "CORRECTION", "CANCEL"])
events = st.builds(
    lambda number, kind, price, fields: (
        trade(number, event_type=kind, **fields) | ({} if kind == "CANCEL" else {"price": price})
    ),
    st.integers(1, 3),
    kinds,
    st.decimals("0.00000001", "99999", places=8),
    st.fixed_dictionaries(
        {
            "event_time": st.sampled_from([BEFORE, BEFORE + timedelta(seconds=9), AFTER]),
            "venue": st.sampled_from(["binance_spot", "binance_usdm"]),
        }
    ),
)


@few_histories
@given(history=histories(events))
def test_the_view_is_exact_after_every_step_of_any_history(
    spark: SparkSession, spark_settings: Settings, history: list[Step]
) -> None:
    lake = SmallLake(spark, load_catalog(spark_settings), spark_settings)
    for _ in play(lake, history):
        assert_exact(lake)
    drain(lake)
    assert_exact(lake)
    assert_complete(lake)


def late_event_history(lake: SmallLake) -> Iterator[str]:
    """A history in which every part of the rule is needed; yields after each step."""
    lake.produce(trade(1))
    lake.stream()
    yield "speed has a first trade"
    first = lake.land()
    lake.batch(first)
    yield "batch has it too"
    lake.produce(trade(2))
    lake.restart_speed()
    lake.stream()
    yield "a restarted speed layer has a second trade of the minute"
    lake.batch(lake.land())
    yield "batch has it too, after an interval of its own"
    lake.produce(trade(3))
    lake.batch(lake.land())
    yield "batch is ahead of speed"
    lake.produce(trade(event_type="CANCEL", number=3))
    lake.stream()
    lake.reconcile(first)
    lake.reconcile(first)
    yield "a pruned speed layer goes on"
    lake.batch(first)
    yield "an old interval has run again"


def other_times_history(lake: SmallLake) -> Iterator[str]:
    """A history of a trade whose reports disagree about its second; yields after each step."""
    later = BEFORE + timedelta(seconds=9)
    for number in (1, 2, 3):
        lake.produce(trade(number, event_time=BEFORE, price=Decimal(number)))
    lake.stream()
    yield "first reports of three trades"
    lake.produce(trade(2, event_time=later, price=Decimal(8)))
    lake.stream()
    yield "a second report with another time counts nothing"
    lake.restart_speed()
    lake.produce(trade(3, event_type="CANCEL", event_time=later))
    lake.stream()
    yield "a cancel is heard whichever time it states, by a process that has just started too"
    lake.produce(trade(1, event_time=later, price=Decimal(9)))
    lake.stream()
    yield "the first of the ids is looked for as well"


@pytest.mark.parametrize("history", [late_event_history, other_times_history])
def test_the_view_is_exact_after_every_step(
    lake: SmallLake, history: Callable[[SmallLake], Iterator[str]]
) -> None:
    for _ in history(lake):
        assert_exact(lake)


def test_the_speed_layer_remembers_what_it_puts_together_and_reads_what_it_forgot(
    lake: SmallLake,
) -> None:
    first = BEFORE.replace(second=0) - timedelta(minutes=2 * REMEMBERED_MINUTES)
    for number in range(2 * REMEMBERED_MINUTES):
        lake.produce(trade(number, event_time=first + timedelta(minutes=number)))
    lake.stream()
    assert_exact(lake)
    # The first minute is forgotten by now. It comes back in more parts than a minute may have.
    for second in range(MOST_PARTS_OF_A_MINUTE + 1):
        lake.produce(trade(100 + second, event_time=first + timedelta(seconds=second)))
        lake.stream()
    lake.produce(trade(200, event_time=BEFORE))
    lake.stream()
    lake.produce(trade(101, event_type="CANCEL", event_time=first + timedelta(seconds=1)))
    lake.produce(trade(0, event_type="CANCEL", event_time=first))
    lake.stream()
    assert_exact(lake)


def speed_always_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = serving.views._text

    def mutated(name: str) -> str:
        return (
            rule(name)
            .replace("seen.last_offset <= batch.last_offset", "FALSE")
            .replace("batch.last_offset < newest.last_offset", "TRUE")
        )

    monkeypatch.setattr(serving.views, "_text", mutated)
    serving.views.view_sql.cache_clear()


def partial_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    read = WindowMemory._read
    monkeypatch.setattr(WindowMemory, "_read", lambda self, minutes: read(self, minutes).limit(0))


def other_times_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds_spoken_of = WindowMemory.seconds_spoken_of

    def none_of_them(*of: Any) -> set[datetime]:
        seconds_spoken_of(*of)
        return set()

    monkeypatch.setattr(WindowMemory, "seconds_spoken_of", none_of_them)


def late_event_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of_hours = batch.steps.rows_of_hours

    def only_of_this_run(as_of: Any) -> Column:
        # The run's own interval ends at the latest time it looks back from.
        end = max(as_of.values(), default=None)
        interval = None if end is None else Interval(end - timedelta(minutes=1), end)
        return rows_of_hours(as_of) & (ingested_in(interval) if interval else rows_of_hours({}))

    monkeypatch.setattr(batch.steps, "rows_of_hours", only_of_this_run)


@pytest.mark.parametrize(
    ("mutate", "history"),
    [
        (speed_always_wins, late_event_history),
        (partial_windows, late_event_history),
        (late_event_forgotten, late_event_history),
        (other_times_not_looked_for, other_times_history),
    ],
)
def test_the_check_fails_when_the_rule_is_broken(
    lake: SmallLake,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[[pytest.MonkeyPatch], None],
    history: Callable[[SmallLake], Iterator[str]],
) -> None:
    mutate(monkeypatch)
    try:
        with pytest.raises(AssertionError, match="DIFFERENT"):  # noqa: PT012
            for _ in history(lake):
                assert_exact(lake)
    finally:
        monkeypatch.undo()
        serving.views.view_sql.cache_clear()


LARGEST, SMALLEST = Decimal("9999999999.99999999"), Decimal("0.00000001")
EXTREMES: dict[str, dict[str, Any]] = {
    "price": {"price": LARGEST, "quantity": Decimal(100_000)},
    "quantity": {"price": SMALLEST, "quantity": LARGEST},
    "both small": {"price": SMALLEST, "quantity": SMALLEST},
    "contracts of little money a unit": {
        **{"price": SMALLEST, "quantity": LARGEST},
        **{"quantity_unit": "CONTRACT", "contract_size": Decimal(100_000)},
    },
    "contracts that are worth no unit": {
        **{"price": LARGEST, "quantity": SMALLEST},
        **{"quantity_unit": "CONTRACT", "contract_size": SMALLEST},
    },
    "id": {"trade_id": 2**63 - 1},
    "earliest": {"event_time": datetime(2000, 1, 1, tzinfo=UTC)},
    "latest": {"event_time": EPOCH + timedelta(hours=1)},
}


def test_the_most_extreme_trades_that_are_accepted_stop_no_layer(lake: SmallLake) -> None:
    symbols = {name: f"S{number}" for number, name in enumerate(EXTREMES)}
    for name, fields in EXTREMES.items():
        lake.produce(trade(1, symbol=symbols[name], **fields))
    contracts = symbols["contracts of little money a unit"]
    for number in range(2, 500):  # a minute full of the largest
        for name in ("price", "quantity", "contracts of little money a unit"):
            lake.produce(trade(number, symbol=symbols[name], **EXTREMES[name]))
    plain = {"quantity_unit": "CONTRACT", "contract_size": Decimal(100_000)}
    lake.produce(trade(999, symbol=contracts, **plain))
    smallest_price = {"price": SMALLEST, "quantity": LARGEST}  # of however many units that makes
    lake.produce(trade(999, symbol=contracts, event_type="CORRECTION", **plain | smallest_price))
    lake.stream()
    assert_complete(lake)
    landed = lake.land()
    assert lake.batch(landed).refused == 0
    assert [record.verdict for record in lake.reconcile(landed)] == ["AGREE", "AGREE"]
    assert_complete(lake)
    engine = SqlEngine(lake.catalog)
    for view, expected, key in (
        ("bars_1h", naive_hours(lake.events()), ("venue", "symbol", "window_start")),
        ("market_daily", naive_days(lake.events()), ("venue", "symbol", "business_date")),
    ):
        rows = engine.query(f"SELECT * FROM serving.{view}").to_pylist()
        verdict = compare(expected, rows, key=key, ignore=("log_partition",))
        assert verdict.equal, f"serving.{view}: {verdict}"
    engine.close()

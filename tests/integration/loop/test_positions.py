"""The first promise for clients: fills and positions are exact, whatever happens in what order.

After every step each row of the merged views must be what one naive pass over the log gives as of
the position that the row states, and no layer may know more of a key than the view shows.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from fill_log import bust, fill
from fills_lake import FillsLake
from hypothesis import given
from hypothesis import strategies as st
from lake_histories import Step, drain, few_histories, histories, play
from pyspark.sql import DataFrame, SparkSession
from small_lake import EPOCH
from trade_log import NOON

import batch.datasets.fills
import speed.flows.fills
from batch.audit import AuditError
from demo.oracle import LoggedEvent, compare
from demo.positions_oracle import naive_fills, naive_positions
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from schemas import contract
from serving.engine import SqlEngine
from speed.clients import MOST_PARTS, ClientMemory

pytestmark = pytest.mark.integration

TABLES = ("silver.fills", "gold.positions")
KEYS = {table: contract(table).key for table in TABLES}
# Readers have no use for it, so the views leave it out.
HIDDEN = ("log_partition",)
DAY = timedelta(days=1)


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> FillsLake:
    return FillsLake(spark, load_catalog(spark_settings), spark_settings)


def oracle(table: str, log: list[LoggedEvent]) -> dict[Any, Any]:
    return dict((naive_fills if table == "silver.fills" else naive_positions)(log))


def assert_exact(lake: FillsLake) -> None:
    """Compare merged rows with the oracle, each as of the most that any layer has seen of it."""
    engine, log = SqlEngine(lake.catalog), lake.events()
    for table, key in KEYS.items():
        seen = engine.query(
            f"""
            SELECT {", ".join(key)}, max(last_offset) AS position, max(log_partition) AS at
            FROM (SELECT * FROM {table} UNION ALL BY NAME SELECT * FROM {table}_rt) AS layers
            GROUP BY ALL
            """
        ).to_pylist()
        expected = {}
        for row in seen:
            until = [e for e in log if e.partition == row["at"] and e.position <= row["position"]]
            known = oracle(table, until).get(tuple(row[name] for name in key))
            if known is not None:
                expected[tuple(row[name] for name in key)] = known
        assert_view(engine, table, expected)
    engine.close()


def assert_complete(lake: FillsLake) -> None:
    """Compare merged rows with the oracle over the whole log."""
    engine, log = SqlEngine(lake.catalog), lake.events()
    for table in TABLES:
        assert_view(engine, table, oracle(table, log))
    engine.close()


def assert_view(engine: SqlEngine, table: str, expected: dict[Any, Any]) -> None:
    view = f"serving.{table.partition('.')[2]}"
    actual = engine.query(f"SELECT * FROM {view}").to_pylist()
    verdict = compare(expected, actual, key=KEYS[table], ignore=HIDDEN)
    assert verdict.equal, f"{view}: {verdict}"


def contents(lake: FillsLake) -> list[list[dict[str, Any]]]:
    engine = SqlEngine(lake.catalog)
    tables = [engine.query(f"SELECT * FROM {name} ORDER BY ALL").to_pylist() for name in TABLES]
    engine.close()
    return tables


events = st.builds(
    lambda kind, number, customer, said: (
        fill(number, customer_id=customer, **said)
        if kind
        else bust(number, customer_id=customer, event_time=said["event_time"])
    ),
    st.sampled_from([True, True, True, False]),
    st.integers(1, 5),
    # Two of them are in one partition.
    st.sampled_from(["A", "B", "C"]),
    st.fixed_dictionaries(
        {
            "event_time": st.sampled_from([NOON, NOON + timedelta(hours=1), NOON - DAY]),
            "symbol": st.sampled_from(["BTCUSDT", "ETHUSDT"]),
            "side": st.sampled_from(["BUY", "SELL"]),
            "quantity": st.sampled_from([Decimal("0.3"), Decimal(1), Decimal(2)]),
            "price": st.decimals("0.00000001", "99999", places=8),
        }
    ),
)


@few_histories
@given(history=histories(events))
def test_positions_are_exact_after_every_step_of_any_history(
    spark: SparkSession, spark_settings: Settings, history: list[Step]
) -> None:
    lake = FillsLake(spark, load_catalog(spark_settings), spark_settings)
    for _ in play(lake, history):
        assert_exact(lake)
    drain(lake)
    assert_exact(lake)
    assert_complete(lake)


def late_fill_history(lake: FillsLake) -> Iterator[str]:
    """A history in which every part of the rule is needed; yields after each step."""
    lake.produce(fill(1, price=Decimal(10)))
    lake.stream()
    yield "speed has a first fill"
    first = lake.land()
    lake.batch(first)
    yield "batch has it too"
    lake.produce(fill(3, side="SELL", price=Decimal(14), event_time=NOON + timedelta(hours=1)))
    lake.restart_speed()
    lake.stream()
    yield "a restarted speed layer has the sale"
    lake.produce(fill(2, price=Decimal(12), event_time=NOON - DAY))
    lake.produce(bust(9, symbol="ETHUSDT", event_time=NOON - DAY))
    second = lake.land()
    lake.produce(fill(9, price=Decimal(13)))
    third = lake.land()
    lake.batch(third)
    yield "batch has left an interval out, with a late fill and a bust that waits for its fill"
    assert_complete(lake)
    lake.stream()
    yield "speed has seen all of it"
    lake.batch(second)
    lake.reconcile(third)
    lake.reconcile(third)
    lake.produce(bust(1))
    lake.stream()
    yield "a pruned speed layer goes on"
    lake.produce(fill(9, customer_id="C-2"))
    lake.batch(lake.land())
    lake.batch(first)
    yield "an old interval has run again"


def test_positions_are_exact_after_every_step(lake: FillsLake) -> None:
    for _ in late_fill_history(lake):
        assert_exact(lake)


def test_runs_in_any_order_and_repeated_end_in_the_same_tables(lake: FillsLake) -> None:
    intervals = []
    for number in range(1, 4):
        lake.produce(fill(number, price=Decimal(number), event_time=NOON - number * DAY))
        lake.produce(bust(number - 1))
        intervals.append(lake.land())
    first, second, third = intervals
    lake.batch(second)
    assert_exact(lake)
    for interval in (third, first, second, Interval(first.start, third.end)):
        lake.batch(interval)
        assert_complete(lake)
    before = contents(lake)
    assert not any(lake.batch(first).rows.values())
    assert contents(lake) == before


def test_a_busted_position_stays_as_a_tombstone_in_both_layers(lake: FillsLake) -> None:
    lake.produce(fill(1))
    lake.batch(lake.land())
    lake.produce(bust(1))
    lake.stream()
    assert_complete(lake)
    interval = lake.land()
    lake.batch(interval)
    assert [record.verdict for record in lake.reconcile(interval)] == ["AGREE", "AGREE"]
    (held,) = contents(lake)[1]
    assert (held["fill_count"], held["quantity"], held["last_offset"]) == (0, 0, 1)


def test_what_is_refused_is_a_dead_letter_once(lake: FillsLake) -> None:
    lake.produce(fill(1, quantity=Decimal(-1)))
    interval = lake.land()
    for _ in range(2):
        assert dict(lake.batch(interval).rows) == {}
    lake.stream()
    assert contents(lake) == [[], []]
    letters = lake.catalog.load_table("bronze.dead_letters").scan().to_arrow().to_pylist()
    assert [(row["topic"], row["reason"]) for row in letters] == [
        ("oms.fills", "non_positive_quantity")
    ]


def test_a_desk_that_has_not_traded_yet_is_reconciled(lake: FillsLake) -> None:
    interval = lake.land()
    assert dict(lake.batch(interval).rows) == {}
    for record in lake.reconcile(interval):
        assert (record.verdict, record.pruned, record.comparison.compared) == ("AGREE", 0, 0)


def test_the_memory_puts_its_parts_together_and_reads_what_it_forgot(
    lake: FillsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        speed.flows.fills, "ClientMemory", partial(ClientMemory, clients=MOST_PARTS + 2)
    )
    lake.restart_speed()
    for number in range(2 * MOST_PARTS):
        lake.produce(fill(1, customer_id=f"C-{number}"))
        lake.stream()
    for number in range(2 * MOST_PARTS):
        lake.produce(fill(2, customer_id=f"C-{number}", side="SELL", price=Decimal(number + 1)))
    lake.stream()
    assert_exact(lake)
    assert_complete(lake)


def test_positions_that_do_not_add_up_are_not_published(
    lake: FillsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.produce(fill(1))
    interval = lake.land()
    positions = batch.datasets.fills.positions

    def of_other_fills(fills: DataFrame) -> DataFrame:
        return positions(fills.selectExpr("* EXCEPT (fee)", "fee + fee AS fee"))

    monkeypatch.setattr(batch.datasets.fills, "positions", of_other_fills)
    with pytest.raises(AuditError, match="fees adds up to"):
        lake.batch(interval)
    assert contents(lake) == [[], []]


def gaps_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    within = batch.datasets.fills.within
    monkeypatch.setattr(
        batch.datasets.fills, "within", lambda column, times: within(column, list(times)[:1])
    )


def partial_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    read = ClientMemory._read
    monkeypatch.setattr(ClientMemory, "_read", lambda self, clients: read(self, clients).limit(0))


def log_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions as if fills happened when they were heard of."""
    positions = speed.flows.fills.positions

    def in_log_order(fills: DataFrame) -> DataFrame:
        return positions(
            fills.selectExpr(
                "* EXCEPT (event_time)", "timestamp_micros(fill_position) AS event_time"
            )
        )

    monkeypatch.setattr(speed.flows.fills, "positions", in_log_order)


@pytest.mark.parametrize("mutate", [gaps_left_out, partial_clients, log_order])
def test_the_check_fails_when_the_rule_is_broken(
    lake: FillsLake,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[[pytest.MonkeyPatch], None],
) -> None:
    mutate(monkeypatch)
    with pytest.raises(AssertionError, match="DIFFERENT"):  # noqa: PT012
        for _ in late_fill_history(lake):
            assert_exact(lake)


def test_the_most_extreme_fills_that_are_accepted_stop_no_layer(lake: FillsLake) -> None:
    largest, smallest = Decimal("9999999999.99999999"), Decimal("0.00000001")
    dear = {"price": largest, "quantity": Decimal(10_000)}
    cheap = {"price": smallest, "quantity": largest}
    fees = {"fee": -largest, "order_id": 2**63 - 1}
    for number in range(300):  # positions that grow, and one that closes and flips all the time
        lake.produce(fill(number, customer_id="A", **dear, **fees))
        lake.produce(fill(number, customer_id="B", side="SELL", **cheap, fee=largest))
        turn = {"side": "BUY" if number % 2 else "SELL"}
        lake.produce(fill(number, customer_id="C", **turn, **(dear if number % 3 else cheap)))
    lake.produce(fill(2**63 - 1, customer_id="A", event_time=datetime(2000, 1, 1, tzinfo=UTC)))
    lake.produce(fill(998, customer_id="B", event_time=EPOCH + timedelta(hours=1)))
    lake.stream()
    assert_complete(lake)
    landed = lake.land()
    assert lake.batch(landed).refused == 0
    assert [record.verdict for record in lake.reconcile(landed)] == ["AGREE", "AGREE"]
    assert_complete(lake)

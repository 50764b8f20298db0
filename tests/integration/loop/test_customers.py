"""Customers in batch: the same history in any order, and nothing touched that was not spoken of."""

import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from customer_lake import CustomerLake
from customer_log import at, change, key
from customer_oracle import Said, in_order_pass
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import batch.datasets.customers
from batch.datasets.customers import CUSTOMERS
from batch.poison import PoisonedIntervalError
from batch.quality import QualityError
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.poison import POISON_EVENTS
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration

DEAD_LETTERS = "bronze.dead_letters"

Changes = list[dict[str, Any]]


@pytest.fixture
def lake(spark: SparkSession, spark_settings: Settings) -> CustomerLake:
    return CustomerLake.empty(spark, load_catalog(spark_settings), spark_settings)


def said(made: dict[str, Any]) -> Said:
    source, after = made["source"], made["after"]
    made_at = at(0) + timedelta(microseconds=source["ts_us"] - change()["source"]["ts_us"])
    state = None if after is None else after["segment"]
    return Said(key(made).decode(), source["lsn"], source["snapshot"], made_at, state)


def oracle(changes: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return in_order_pass(map(said, changes))


def lives(customer: str) -> Changes:
    """Two lives of a customer, with a repeated snapshot in the second."""
    return [
        change("c", 0, 1, customer=customer),
        change("u", 2, 2, customer=customer, segment="PROFESSIONAL"),
        change("u", 4, 3, customer=customer, segment="INSTITUTIONAL"),
        change("d", 6, 4, customer=customer),
        change("c", 8, 5, customer=customer),
        change("r", 9, 5, customer=customer),
        change("u", 10, 6, customer=customer, segment="PROFESSIONAL"),
    ]


def test_any_order_of_changes_and_runs_ends_in_the_history_in_order(lake: CustomerLake) -> None:
    changes = [made for number in range(4) for made in lives(f"C{number}")]
    dice = random.Random(5)
    log = [*changes, *dice.sample(changes, 9)]
    dice.shuffle(log)
    intervals = [lake.land(*log[start : start + 10]) for start in range(0, len(log), 10)]
    dice.shuffle(intervals)
    for interval in intervals:
        lake.batch(interval)
    assert lake.history() == oracle(changes)

    told = lake.states()
    whole = Interval(min(i.start for i in intervals), max(i.end for i in intervals))
    for interval in (intervals[-1], whole, whole):
        assert lake.batch(interval).rows[CUSTOMERS] == 0
    assert lake.states() == told


def test_a_late_change_touches_only_what_it_changes(lake: CustomerLake) -> None:
    late = change("u", 5, 3, segment="INSTITUTIONAL")
    early = [change("c", 0, 1), change("u", 9, 4, segment="PROFESSIONAL"), *lives("C2")]
    lake.batch(lake.land(*early))
    files = {f.file.file_path for f in lake.catalog.load_table(CUSTOMERS).scan().plan_files()}
    others = [state for state in lake.states() if state["customer_id"] == "C2"]
    before = {tuple(state.values()) for state in lake.states()}

    report = lake.batch(lake.land(late))

    assert lake.history() == oracle([*early, late])
    assert [state for state in lake.states() if state["customer_id"] == "C2"] == others
    new = [state for state in lake.states() if tuple(state.values()) not in before]
    assert [state["valid_from"] for state in new] == [at(0), at(5)], "the last state is as it was"
    assert report.rows[CUSTOMERS] == 2
    kept = {f.file.file_path for f in lake.catalog.load_table(CUSTOMERS).scan().plan_files()}
    assert files & kept, "the file of the other customer is another one now"


def test_a_row_that_is_no_longer_told_is_removed(lake: CustomerLake) -> None:
    early = [change("c", 0, 1), change("u", 5, 3, segment="PROFESSIONAL")]
    late = change("u", 7, 2, segment="INSTITUTIONAL")
    lake.batch(lake.land(*early))
    assert lake.batch(lake.land(late)).rows[CUSTOMERS] == 3
    assert lake.history() == oracle([*early, late])
    assert [state["valid_from"] for state in lake.states()] == [at(0), at(7)]


def test_an_old_interval_run_again_takes_nothing_back(lake: CustomerLake) -> None:
    first, second = lake.land(change("c", 0, 1)), lake.land(change("d", 5, 2))
    lake.batch(second)
    assert lake.batch(first).rows[CUSTOMERS] == 0
    assert [state["valid_to"] for state in lake.states()] == [at(5)]


def test_a_run_reads_only_what_was_ingested_before_its_end(lake: CustomerLake) -> None:
    first = lake.land(change("c", 0, 1))
    lake.land(change("d", 5, 2))
    lake.batch(first)
    assert [state["valid_to"] for state in lake.states()] == [None]


def test_a_refused_change_is_one_dead_letter(lake: CustomerLake) -> None:
    interval = lake.land(change(), change("u", 1, 2, status="BORED"), change(minute=120, lsn=3))
    for _ in range(2):
        lake.batch(interval)
    dead = lake.catalog.load_table(DEAD_LETTERS).scan().to_arrow().to_pylist()
    assert sorted((row["reason"], row["kafka_offset"], row["stage"]) for row in dead) == [
        ("event_time_in_future", 2, "batch"),
        ("unknown_status", 1, "batch"),
    ]
    assert len(lake.states()) == 1


def two_at_once(states: DataFrame) -> DataFrame:
    return states.withColumn("valid_to", F.lit(None).cast("timestamp"))


def for_no_time(states: DataFrame) -> DataFrame:
    return states.withColumn("valid_to", F.col("valid_from"))


@pytest.mark.parametrize(
    ("wrong", "finding"), [(two_at_once, "states_do_not_overlap"), (for_no_time, "states_last")]
)
def test_a_history_that_cannot_be_is_not_published(
    lake: CustomerLake, monkeypatch: pytest.MonkeyPatch, wrong: Any, finding: str
) -> None:
    told = batch.datasets.customers.history
    monkeypatch.setattr(batch.datasets.customers, "history", lambda seen: wrong(told(seen)))
    interval = lake.land(*lives("C1"))
    with pytest.raises(QualityError, match=finding):
        lake.batch(interval)
    assert lake.states() == []


def not_computable(*positions: int) -> Callable[[DataFrame], DataFrame]:
    """A history that Spark cannot compute with changes at some places in the source's log."""
    told = batch.datasets.customers.history

    def history(seen: DataFrame) -> DataFrame:
        divisor = F.when(F.col("source_position").isin(*positions), 0).otherwise(1)
        return told(
            seen.withColumn("source_position", (F.col("source_position") / divisor).cast("long"))
        )

    return history


def test_the_poison_among_changes_is_set_aside_once_and_the_rest_goes_on(
    lake: CustomerLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rule is known to let such a change in; so the history is made not to bear two of them."""
    changes = lives("C1")
    poison = [change("u", 7, 41, customer="C1"), change("u", 7, 42, customer="C2")]
    lake.batch(lake.land(*changes[:3]))
    first, second = lake.land(changes[3], poison[0]), lake.land(*changes[4:], poison[1])
    monkeypatch.setattr(batch.datasets.customers, "history", not_computable(41, 42))
    lake.batch(second)
    lake.batch(first)
    lake.batch(second)
    assert lake.history() == oracle(changes)
    noted = lake.catalog.load_table(POISON_EVENTS).scan().to_arrow().to_pylist()
    assert sorted((row["topic"], row["kafka_offset"]) for row in noted) == [
        ("crm.customers", 4),
        ("crm.customers", 8),
    ]
    dead = lake.catalog.load_table(DEAD_LETTERS).scan().to_arrow().to_pylist()
    assert sorted((row["reason"], row["kafka_offset"], row["detail"]) for row in dead) == sorted(
        ("poison", row["kafka_offset"], row["error"]) for row in noted
    )
    assert all("DIVIDE_BY_ZERO" in row["error"] for row in noted)


def test_no_change_is_set_aside_for_what_it_is_not_the_cause_of(
    lake: CustomerLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.batch(lake.land(change("c", 0, 1)))
    monkeypatch.setattr(batch.datasets.customers, "history", not_computable(1))
    with pytest.raises(PoisonedIntervalError, match=r"customers of .*DIVIDE_BY_ZERO"):
        lake.batch(lake.land(change("u", 5, 2)))
    assert len(lake.catalog.load_table(POISON_EVENTS).scan().to_arrow()) == 0

"""The history of customers: rule by rule, and beside an oracle that takes changes in order."""

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from customer_log import (
    NOON,
    SCHEMA_ID,
    SCHEMA_JSON,
    at,
    captured_at,
    change,
    key,
    payload,
    row,
)
from customer_oracle import Said, in_order_pass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

import schemas
from lakehouse.transforms.customers import (
    BUSINESS_COLUMNS,
    PERSONAL_COLUMNS,
    RISK_CLASSES,
    SEGMENTS,
    STATE_COLUMNS,
    STATUSES,
    history,
    observe_changes,
    validate_changes,
)
from lakehouse.transforms.events import decode

RECORDS = (
    "topic_generation int, kafka_partition int, kafka_offset long, kafka_timestamp timestamp,"
    " event_time timestamp, message_key binary, payload binary"
)
STATE_TYPE = ", ".join(
    f"{name}: {'binary' if name in PERSONAL_COLUMNS else 'string'}" for name in STATE_COLUMNS
)
OBSERVATIONS = (
    "customer_id string, source_position long, is_snapshot boolean, made_at timestamp,"
    f" state struct<{STATE_TYPE}>, log_partition int, log_position long"
)
# Few customers' states, places and times, so that ties of every kind come up.
CUSTOMERS, CHANGES, PLACES, MINUTES = 40, 9, 8, 6
BATCHES = 3

Judged = Callable[..., DataFrame]
History = list[dict[str, Any]]


@pytest.fixture
def judged(spark: SparkSession) -> Judged:
    """Decode and validate changes that stand at offsets 0, 1, … of one partition."""

    def run(*changes: dict[str, Any]) -> DataFrame:
        rows = [
            (0, 0, offset, NOON, captured_at(made), key(made), payload(made))
            for offset, made in enumerate(changes)
        ]
        return validate_changes(
            decode(
                spark.createDataFrame(rows, RECORDS),
                writer_schemas={SCHEMA_ID: SCHEMA_JSON},
                reader_schema=SCHEMA_JSON,
                max_payload_bytes=1_000_000,
            )
        )

    return run


@pytest.fixture
def states(judged: Judged) -> Callable[..., History]:
    """Return the history that changes in this order of arrival give."""

    def run(*changes: dict[str, Any]) -> History:
        return rows_of(history(observe_changes(judged(*changes))))

    return run


def rows_of(frame: DataFrame) -> History:
    # By way of Arrow, times keep their zone.
    return list(frame.orderBy("customer_id", "valid_from").toArrow().to_pylist())


def spans(rows: History, *columns: str) -> list[tuple[Any, ...]]:
    return [(r["valid_from"], r["valid_to"], *(r[name] for name in columns)) for r in rows]


def test_the_simulated_crm_knows_the_same_words() -> None:
    from ingestion.crm import people

    assert (people.SEGMENTS, people.STATUSES) == (SEGMENTS, STATUSES)
    assert people.RISK_CLASSES == RISK_CLASSES


def test_the_history_has_the_columns_of_its_table(states: Any, judged: Judged) -> None:
    table = schemas.contract("silver.customers")
    frame = history(observe_changes(judged(change())))
    assert tuple(frame.columns) == table.column_names
    assert tuple(c.name for c in table.columns if c.pii) == PERSONAL_COLUMNS
    assert set(BUSINESS_COLUMNS) < set(table.column_names)


def test_a_life_is_told_without_gaps(states: Any) -> None:
    told = states(
        change("c", 0, 1),
        change("u", 5, 2, segment="PROFESSIONAL"),
        change("u", 9, 3, segment="PROFESSIONAL", name=b"other"),
        change("d", 20, 4),
    )
    assert spans(told, "segment", "name", "is_current") == [
        (at(0), at(5), "RETAIL", b"name", False),
        (at(5), at(9), "PROFESSIONAL", b"name", False),
        (at(9), at(20), "PROFESSIONAL", b"other", False),
    ]
    assert [(r["source_position"], r["last_offset"]) for r in told] == [(1, 1), (2, 2), (3, 3)]


def test_a_customer_may_live_twice(states: Any) -> None:
    told = states(change("c", 0, 1), change("d", 5, 2), change("c", 9, 3))
    assert spans(told, "is_current") == [(at(0), at(5), False), (at(9), None, True)]


def test_a_repeated_snapshot_changes_nothing_that_it_confirms(states: Any) -> None:
    told = states(
        change("r", 0, 7), change("r", 3, 7), change("u", 5, 8, status="CLOSED"),
        change("r", 9, 8, status="CLOSED"), change("u", 11, 9, status="CLOSED"),
    )  # fmt: skip
    assert spans(told, "status", "last_offset") == [
        (at(0), at(5), "ACTIVE", 2),
        (at(5), None, "CLOSED", 4),
    ]


def test_a_snapshot_tells_what_the_capture_missed(states: Any) -> None:
    told = states(change("c", 0, 1), change("r", 5, 9, country="FR"))
    assert spans(told, "country") == [(at(0), at(5), "DE"), (at(5), None, "FR")]


def test_of_one_instant_the_last_change_counts(states: Any) -> None:
    told = states(
        change("c", 0, 1),
        change("u", 5, 2, country="FR"),
        change("u", 5, 3, country="GB"),
        change("d", 9, 4),
        change("c", 9, 5, country="GB"),
    )
    assert spans(told, "country") == [(at(0), at(5), "DE"), (at(5), None, "GB")]


def test_time_does_not_go_back_where_a_clock_did(states: Any) -> None:
    told = states(change("c", 5, 1), change("u", 3, 2, country="FR"), change("d", 8, 3))
    assert spans(told, "country") == [(at(5), at(8), "FR")]


def test_what_was_only_deleted_was_never_seen(states: Any) -> None:
    assert states(change("d", 0, 1)) == []


def random_changes(dice: random.Random) -> list[Said]:
    """Draw changes of some customers, at most one at each place of the source's log."""
    changes = {}
    for number in range(CUSTOMERS):
        for _ in range(dice.randrange(CHANGES)):
            place = (
                f"C{number}",
                dice.randrange(PLACES),
                dice.random() < 0.2,
                at(dice.randrange(MINUTES)),
            )
            changes[place] = dice.choice([None, "RETAIL", "RETAIL", "PROFESSIONAL"])
    return [Said(*place, state) for place, state in changes.items()]


def observations(spark: SparkSession, log: list[Said]) -> DataFrame:
    """Return what a log in this order says."""
    rows = []
    for position, said in enumerate(log):
        kept = None if said.state is None else row(segment=said.state)
        state = None if kept is None else tuple(kept[name] for name in STATE_COLUMNS)
        rows.append((*said[:4], state, 0, position))
    return spark.createDataFrame(rows, OBSERVATIONS)


def shown(frame: DataFrame) -> list[tuple[Any, ...]]:
    columns = ("customer_id", "valid_from", "valid_to", "segment", "source_position")
    return sorted((tuple(r[name] for name in columns) for r in rows_of(frame)), key=lambda r: r[:2])


@given(st.integers(0, 2**32))
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_order_repetition_and_batching_gives_the_history_in_order(
    spark: SparkSession, seed: int
) -> None:
    dice = random.Random(seed)
    changes = random_changes(dice)
    log = [*changes, *dice.sample(changes, len(changes) // 3)]
    dice.shuffle(log)
    expected = in_order_pass(changes)

    assert shown(history(observations(spark, log))) == expected

    # In batches, as batch does: who is touched is told anew from all that is known by then.
    table: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    ends = sorted(dice.randrange(len(log)) for _ in range(BATCHES - 1))
    for start, end in pairwise([0, *ends, len(log)]):
        touched = {said.customer for said in log[start:end]}
        known = [said for said in log[:end] if said.customer in touched]
        if known:
            told = shown(history(observations(spark, known)))
            for customer in touched:
                table[customer] = [state for state in told if state[0] == customer]
    assert sorted((s for told in table.values() for s in told), key=lambda r: r[:2]) == expected

    hold(expected, changes)


def hold(told: list[tuple[Any, ...]], changes: list[Said]) -> None:
    """Check of a history what must be true of any, without the oracle's way of making it."""
    by_customer: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for state in told:
        by_customer[state[0]].append(state)
    for customer, states in by_customer.items():
        mine = [said for said in changes if said.customer == customer]
        assert sum(end is None for _, _, end, *_ in states) <= 1
        assert all(end is None or start < end for _, start, end, *_ in states)
        for (_, _, end, segment, _), (_, start, _, after, _) in pairwise(states):
            assert end is not None, "only the last state may be current"
            assert end <= start, "states overlap"
            if end == start:
                assert segment != after, "equal states that follow one another are one"
            else:
                assert any(said.state is None for said in mine), "a gap without a delete"
        newest = max(mine, key=lambda said: (said.lsn, said.snapshot, said.made_at))
        assert (states[-1][2] is None) == (newest.state is not None)


def test_the_oracle_is_tried_on_what_is_known() -> None:
    step = timedelta(minutes=1)
    a, b, c = NOON, NOON + step, NOON + 2 * step
    changes = [
        Said("C1", 3, False, c, None),
        Said("C1", 1, False, a, "RETAIL"),
        Said("C1", 2, False, b, "PROFESSIONAL"),
        Said("C1", 1, False, a, "RETAIL"),
        Said("C2", 4, False, b, "RETAIL"),
    ]
    assert in_order_pass(changes) == [
        ("C1", a, b, "RETAIL", 1),
        ("C1", b, c, "PROFESSIONAL", 2),
        ("C2", b, None, "RETAIL", 4),
    ]

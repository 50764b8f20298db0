"""Which failures are the data's, and the list of the events that both layers leave out."""

import pytest

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.poison import (
    POISON_EVENTS,
    Layer,
    Place,
    has_seen,
    is_of_data,
    note_poison,
    poison_events,
    rid_of_poison,
)
from lakehouse.positions import LogPosition
from lakehouse.settings import Settings
from schemas import tables

OVERFLOW = "[ARITHMETIC_OVERFLOW] Overflow in sum of decimals. SQLSTATE: 22003"


@pytest.mark.parametrize(
    ("said", "of_data"),
    [
        (OVERFLOW, True),
        (f"Job aborted due to stage failure: Task 0 failed: {OVERFLOW}\nDriver stacktrace:", True),
        ("[DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012", True),
        ("[TABLE_OR_VIEW_NOT_FOUND] The table lake.x cannot be found. SQLSTATE: 42P01", False),
        ("[INTERNAL_ERROR] The Spark SQL phase failed. SQLSTATE: XX000", False),
        ("Connection refused: store:22003", False),
        ("offset 22003 is out of range", False),
    ],
)
def test_what_the_sql_state_says_is_the_datas_fault(said: str, of_data: bool) -> None:
    assert is_of_data(RuntimeError(said)) == of_data


def test_what_is_noted_is_read_by_topic_and_noting_it_again_changes_nothing(
    settings: Settings,
) -> None:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(POISON_EVENTS)])
    found = {
        Place(0, LogPosition(0, 7).encode()): "overflow",
        Place(3, LogPosition(2, 2**40).encode()): "division by zero",
    }
    for noted in ({}, found, found):
        note_poison(catalog, "market.trades", noted, Layer.BATCH)
    note_poison(catalog, "oms.fills", {Place(0, 1): "of another topic"}, Layer.SPEED)
    assert poison_events(catalog, "market.trades") == found
    assert poison_events(catalog, "market.quotes") == {}


def test_the_speed_layer_is_rid_of_what_it_has_noted(settings: Settings) -> None:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(POISON_EVENTS)])
    note_poison(catalog, "market.trades", {Place(0, 7): "found by speed"}, Layer.SPEED)
    note_poison(catalog, "market.trades", {Place(0, 9): "found by batch"}, Layer.BATCH)
    assert rid_of_poison(catalog, "market.trades") == {Place(0, 7)}
    note_poison(catalog, "market.trades", {Place(0, 9): "found by batch"}, Layer.SPEED)
    assert rid_of_poison(catalog, "market.trades") == {Place(0, 7), Place(0, 9)}


def test_a_row_behind_the_first_event_of_its_partition_may_have_seen_it() -> None:
    assert has_seen([]) == "FALSE"
    assert has_seen([Place(2, 9), Place(0, 5), Place(2, 7)]) == (
        "(log_partition = 2 AND last_offset >= 7) OR (log_partition = 0 AND last_offset >= 5)"
    )

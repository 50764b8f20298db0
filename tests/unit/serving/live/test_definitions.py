"""The live tier's definitions, held against the naive oracles on random logs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_logs import CASES, Case, accepted, plain, silver_rows
from trade_log import NOON

from demo.oracle import LoggedEvent
from demo.verdict import compare
from serving.live.relations import Values, key_of
from serving.live.rules import first_broken
from serving.live.stream import Whole

pytestmark = pytest.mark.serving

Wholes = dict[tuple[str, int], Whole]


def whole_of(case: Case, wholes: Wholes, row: dict[str, object]) -> Whole:
    group, start = case.stream.group_of(row), case.stream.minute_of(row)
    if (group, start) not in wholes:
        wholes[group, start] = case.stream(group, start, 0)
    return wholes[group, start]


def told(case: Case, wholes: Wholes) -> dict[str, Values]:
    rows = [row for whole in wholes.values() for row in whole.rows()]
    return {key_of(case.stream.relation, row): row for row in rows}


def assert_as_the_oracle_says(case: Case, log: list[LoggedEvent], rows: dict[str, Values]) -> None:
    expected = {key: plain(row) for key, row in case.expected(log).items()}
    verdict = compare(expected, rows.values(), key=case.stream.relation.key)
    assert verdict.equal, str(verdict)


@pytest.mark.parametrize("name", CASES)
@given(st.data())
def test_after_every_event_each_row_is_the_oracle_s(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    log = accepted(case, data.draw(st.lists(case.events, max_size=40)))
    wholes: Wholes = {}
    rows: dict[str, Values] = {}
    for number, logged in enumerate(log, start=1):
        whole_of(case, wholes, dict(logged.event)).take(logged.event, logged.position)
        rows |= told(case, wholes)
        assert_as_the_oracle_says(case, log[:number], rows)


@pytest.mark.parametrize("name", CASES)
@given(st.data())
def test_what_silver_has_and_what_comes_again_after_it_make_the_same(
    name: str, data: st.DataObject
) -> None:
    case = CASES[name]
    log = accepted(case, data.draw(st.lists(case.events, max_size=40)))
    reach = data.draw(st.integers(0, len(log)))
    start = data.draw(st.integers(0, reach))
    wholes: Wholes = {}
    for row in silver_rows(case, log[:reach]):
        whole_of(case, wholes, row).recall(row)
    for logged in log[start:]:
        whole_of(case, wholes, dict(logged.event)).take(logged.event, logged.position)
    assert_as_the_oracle_says(case, log, told(case, wholes))


@pytest.mark.parametrize("name", CASES)
@given(st.data())
def test_the_rules_are_the_oracle_s(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    event = data.draw(case.events)
    assert (first_broken(case.stream.rules, event, NOON) is not None) == bool(
        case.rejections(event, NOON)
    )

"""The merge rule holds in every state of the model, and leaving out any part of it does not.

See docs/adr: "The row that has seen more of the log wins".
"""

from collections.abc import Iterator

import pytest
from lambda_model import NOTHING, Row, Rules, Shape, State, Vanished, newest_of_each, top
from model_check import Result, check, logs, shapes

# Up to here every part of the rule is needed by some log: each mutation below fails within it.
SHORT = 3


def scope(longest: int, *, other_keys: bool = False) -> Iterator[Shape]:
    for length in range(1, longest + 1):
        yield from shapes(length, other_keys=other_keys)


@pytest.mark.parametrize(
    ("longest", "number_of_logs", "least_states", "least_answers"),
    [
        (4, 1_371, 20_000, 200),
        pytest.param(5, 14_007, 250_000, 2_000, marks=pytest.mark.exhaustive),
    ],
)
def test_every_log_is_exact_in_every_state(
    longest: int, number_of_logs: int, least_states: int, least_answers: int
):
    result = check(scope(longest), Rules(), torn_commits=False)

    assert result.finding is None
    assert result.logs == number_of_logs
    # The walk went somewhere: a model that can't move would find nothing either.
    assert result.states > least_states
    assert result.answers > least_answers


def test_every_log_of_three_events_is_exact_though_processes_stop_between_commits():
    result = check(scope(SHORT), Rules(), torn_commits=True)

    assert result.finding is None
    assert result.logs == 156
    assert result.states > 25_000


def test_events_of_other_keys_change_nothing():
    result = check(scope(SHORT, other_keys=True), Rules(), torn_commits=False)

    assert result.finding is None
    assert result.logs == sum(len(list(logs(shape))) for shape in scope(SHORT, other_keys=True))


def test_a_file_correction_applied_by_batch_is_seen_once_batch_holds_the_newest_row():
    assert check(scope(SHORT), Rules(), torn_commits=False, files=True).finding is None


def no_tombstone(row: Row, older: Row, vanished: Vanished) -> Row:
    return older if vanished(row.mask) else row


def prune_at_once(state: State) -> tuple[int, int]:
    return state.silver.mask, state.gold.offset


def start_from_nothing(own: int, silver: int, trades: tuple[int, ...]) -> int:
    return NOTHING


def start_from_own_rows_only(own: int, silver: int, trades: tuple[int, ...]) -> int:
    return newest_of_each(own, NOTHING, trades)


def start_from_silver_only(own: int, silver: int, trades: tuple[int, ...]) -> int:
    return newest_of_each(NOTHING, silver, trades)


def speed_wins_ties(batch: Row, speed: Row) -> Row:
    return speed if speed.offset >= batch.offset else batch


def time_boundary(batch: Row, speed: Row) -> Row:
    return batch if batch.offset else speed


def forget_late_events(silver: Row, shape: Shape, start: int, end: int) -> Row:
    landed = shape.events(0, end)
    touched = shape.events(start, end)
    return Row(silver.mask or landed, max(silver.offset, top(landed))) if touched else silver


def recompute_from_own_interval(silver: Row, shape: Shape, start: int, end: int) -> Row:
    events = shape.events(start, end)
    return Row(events, top(events)) if top(events) >= silver.offset and events else silver


def take_rows_back(silver: Row, shape: Shape, start: int, end: int) -> Row:
    events = shape.events(0, end)
    return Row(events, top(events)) if shape.events(start, end) else silver


MUTATIONS = {
    "no tombstone": (Rules(write=no_tombstone, look_at_values=True), "had been reached"),
    "prune at once": (Rules(prunable=prune_at_once), "had been reached"),
    "speed starts from nothing": (Rules(start_from=start_from_nothing), "not exact"),
    "speed starts without silver": (Rules(start_from=start_from_own_rows_only), "not exact"),
    "speed starts without its rows": (Rules(start_from=start_from_silver_only), "not exact"),
    "speed reads batch first": (Rules(reads_own_first=False), "not exact"),
    "a time boundary": (Rules(merge=time_boundary), "had been reached"),
    "late events forgotten": (Rules(recompute=forget_late_events), "not exact"),
    "only its own interval": (Rules(recompute=recompute_from_own_interval), "not exact"),
    "an older run takes back": (Rules(recompute=take_rows_back), "had been reached"),
}


@pytest.mark.parametrize(("rules", "problem"), MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_rule_left_out_is_found_within_three_events(rules: Rules, problem: str):
    found = check(scope(SHORT), rules, torn_commits=False)

    assert found.finding is not None
    assert problem in found.finding


def test_a_tie_matters_once_batch_has_applied_a_file():
    rules = Rules(merge=speed_wins_ties)

    # Without files, two rows of one offset are the same row, and the rule for ties is idle.
    assert check(scope(SHORT), rules, torn_commits=False).finding is None
    assert "a file correction that batch holds is not seen" in _finding(
        check(scope(SHORT), rules, torn_commits=False, files=True)
    )


def _finding(result: Result) -> str:
    assert result.finding is not None
    return result.finding

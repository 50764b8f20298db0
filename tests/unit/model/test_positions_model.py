"""Batch runs of a dataset that is not made by the hour: every row has seen all below its offset.

One position stands for all. Each event of the log is about it (`a`) or about another (`.`). Runs
over any interval of the landed log come in any order, again, with gaps and overlaps, and may die
between any two of their commits. A row is modelled as the set of events that it was made from. The
speed layer reads batch silver when it has forgotten a client, so silver must be whole, too.
"""

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import NamedTuple

LENGTH = 5
LOGS = ["".join(letters) for letters in product("a.", repeat=LENGTH)]
INTERVALS = [*combinations(range(LENGTH + 1), 2)]


class State(NamedTuple):
    """What is stored: silver and gold as sets of events, and the run log."""

    silver: frozenset[int] = frozenset()
    gold: frozenset[int] = frozenset()
    published: frozenset[int] = frozenset()
    """The places in the log that published runs cover."""


Due = Callable[[State, int, int], set[int]]


def due(state: State, start: int, end: int) -> set[int]:
    """Return the places that a run takes in: its own, and those before that no run covers."""
    return {*range(start, end)} | ({*range(end)} - state.published)


def own_interval(_: State, start: int, end: int) -> set[int]:
    return {*range(start, end)}


def runs(state: State, log: str, taken: Due) -> Iterator[State]:
    """Yield what is stored after each commit of a run over each interval."""
    for start, end in INTERVALS:
        events = {at for at in taken(state, start, end) if log[at] == "a"}
        silver = state._replace(silver=state.silver | events)
        gold = silver._replace(gold=silver.silver if events else silver.gold)
        yield from (silver, gold)
        yield gold._replace(published=gold.published | {*range(start, end)})
        if "a" not in log[start:end]:  # nothing of its own to do: it only says that it ran
            yield state._replace(published=state.published | {*range(start, end)})


def is_whole(row: frozenset[int], log: str) -> bool:
    """Tell whether a row was made from every event up to the last one that it has seen."""
    return row == {at for at in range(max(row, default=-1) + 1) if log[at] == "a"}


def torn(taken: Due) -> Iterator[tuple[str, State]]:
    """Yield the logs with a state that they can reach in which a row is not whole."""
    for log in LOGS:
        reached, ahead = {State()}, [State()]
        while ahead:
            for after in runs(ahead.pop(), log, taken):
                if after not in reached:
                    reached.add(after)
                    ahead.append(after)
                    if not (is_whole(after.silver, log) and is_whole(after.gold, log)):
                        yield log, after


def test_every_row_has_seen_all_below_its_offset_after_any_runs() -> None:
    assert next(torn(due), None) is None


def test_a_run_that_takes_in_its_own_interval_only_is_found_out() -> None:
    assert next(torn(own_interval), None) is not None

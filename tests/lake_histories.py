"""Random histories of a small lake: every step that its processes can take, in any order."""

from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from small_lake import SmallLake

from lakehouse.intervals import Interval

Step = tuple[str, Any]


def histories(events: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[Step]]:
    """Draw histories in which some of these events are produced."""
    steps = st.one_of(
        st.lists(events, min_size=1, max_size=5).map(lambda batch: ("produce", batch)),
        st.just(("stream", None)),
        st.tuples(st.just("restart"), st.integers(0, 4)),
        st.just(("land", None)),
        st.tuples(st.just("batch"), st.integers(0, 3)),
        st.just(("reconcile", None)),
    )
    return st.lists(steps, min_size=6, max_size=10)


few_histories = settings(
    # Each takes seconds.
    max_examples=6,
    deadline=None,
    # A failing history is short enough to read; finding a shorter one would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def play(lake: SmallLake, history: list[Step]) -> Iterator[Step]:
    """Take the steps of a history, and yield after each."""
    landed: list[Interval] = []
    published: list[Interval] = []
    for step in history:
        take(lake, step, landed, published)
        yield step


def take(lake: SmallLake, step: Step, landed: list[Interval], published: list[Interval]) -> None:
    """Take one step of a history; one that cannot be taken yet is passed over."""
    match step:
        case "produce", events:
            for event in events:
                lake.produce(event)
        case "stream", _:
            lake.stream()
        case "restart", forget:
            lake.restart_speed(forget=forget)
        case "land", _:
            landed.append(lake.land())
        case "batch", back if back < len(landed):
            published.append(landed[-1 - back])
            lake.batch(published[-1])
        case "reconcile", _ if published:
            records = lake.reconcile(published[-1])
            assert [record.verdict for record in records] == ["AGREE", "AGREE"], records


def drain(lake: SmallLake) -> None:
    """Let both layers see all of the log."""
    lake.batch(lake.land())
    lake.stream()

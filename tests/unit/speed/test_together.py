"""Several flows in one process."""

from collections.abc import Callable
from threading import Event

import pytest

from speed.flow import Flow
from speed.flows.trades import Trades
from speed.together import SharedBeat, run_together

DEADLINE_SECONDS = 10.0


class Named(Trades):
    """A flow that is told apart by its name alone."""

    def __init__(self, name: str) -> None:
        self.name = name


FLOWS: list[Flow] = [Named("one"), Named("other")]


def test_a_sign_of_life_needs_one_of_every_flow() -> None:
    beats: list[int] = []
    shared = SharedBeat(FLOWS, lambda: beats.append(1))
    one, other = (shared.of(flow) for flow in FLOWS)
    one()
    one()
    assert not beats
    other()
    assert len(beats) == 1
    other()
    assert len(beats) == 1


def test_the_failure_of_one_stops_the_others_and_is_told() -> None:
    stop = Event()

    def run(flow: Flow, beat: Callable[[], None]) -> None:
        if flow.name == "one":
            raise RuntimeError("broken")
        assert stop.wait(DEADLINE_SECONDS), "nobody stopped the other"

    with pytest.raises(RuntimeError, match="broken"):
        run_together(FLOWS, run, stop=stop, beat=lambda: None)


def test_all_run_at_the_same_time_to_their_end() -> None:
    met = {flow.name: Event() for flow in FLOWS}

    def run(flow: Flow, beat: Callable[[], None]) -> None:
        met[flow.name].set()
        assert all(event.wait(DEADLINE_SECONDS) for event in met.values())

    run_together(FLOWS, run, stop=Event(), beat=lambda: None)

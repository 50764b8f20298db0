"""Several flows in one process: they share a Spark session, and end together."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock

from speed.flow import Flow

Run = Callable[[Flow, Callable[[], None]], None]


class SharedBeat:
    """A sign of life that is given when every flow has given its own since the last."""

    def __init__(self, flows: Sequence[Flow], beat: Callable[[], None]) -> None:
        self._names = frozenset(flow.name for flow in flows)
        self._beat = beat
        self._heard: set[str] = set()
        self._lock = Lock()

    def of(self, flow: Flow) -> Callable[[], None]:
        """Return the beat of one flow."""

        def beat() -> None:
            with self._lock:
                self._heard.add(flow.name)
                if self._heard == self._names:
                    self._heard.clear()
                    self._beat()

        return beat


def run_together(flows: Sequence[Flow], run: Run, *, stop: Event, beat: Callable[[], None]) -> None:
    """Run flows side by side until each has ended; the failure of one stops the others.

    Args:
        flows: The flows.
        run: Runs a flow to its end; is given the flow's own sign of life.
        stop: What stops a flow that runs.
        beat: Called while all of them make progress.

    Raises:
        Exception: The first failure, when all have ended.
    """
    shared = SharedBeat(flows, beat)
    with ThreadPoolExecutor(len(flows), thread_name_prefix="flow") as threads:
        running = [threads.submit(run, flow, shared.of(flow)) for flow in flows]
        for ended in as_completed(running):
            if ended.exception() is not None:
                stop.set()
    for ended in running:
        ended.result()

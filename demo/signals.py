"""Every polite way of ending the demo is a Ctrl-C, and its tidying up is not interrupted."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers

# A closed terminal hangs up; a supervisor terminates.
POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def all_interrupt() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into the exception that Ctrl-C raises."""
    with _handled_by(signal.default_int_handler):
        try:
            yield
        except RuntimeError as error:
            # DuckDB says so when a signal ends a query.
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore them all meanwhile: a second Ctrl-C must not leave half of the processes running."""
    with _handled_by(signal.SIG_IGN):
        yield


@contextmanager
def _handled_by(handler: Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in POLITE}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

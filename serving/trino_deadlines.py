"""Queries that Trino is told to end when nobody waits for them any more."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import requests
from trino import exceptions
from trino.dbapi import Cursor

from serving.engine import TimeIsUpError

# A statement that was to be ended and had not begun is ended at the next look.
CANCEL_AGAIN_SECONDS = 0.2


@contextmanager
def ended_in_time(cursor: Cursor, timeout_seconds: float | None) -> Iterator[Event]:
    """Cancel a query on the server when its time is over, and set the event that is yielded."""
    done, time_is_up = Event(), Event()

    def watch() -> None:
        if done.wait(timeout_seconds):
            return
        time_is_up.set()
        cancel(cursor)
        while not done.wait(CANCEL_AGAIN_SECONDS):
            cancel(cursor)

    if timeout_seconds is not None:
        Thread(target=watch, name="deadline", daemon=True).start()
    try:
        yield time_is_up
    finally:
        done.set()


def cancel(cursor: Cursor) -> None:
    """End a query on the server, if it runs."""
    with suppress(exceptions.Error, exceptions.HttpError, requests.RequestException):
        cursor.cancel()  # type: ignore[no-untyped-call]


def ended(timeout_seconds: float | None) -> TimeIsUpError:
    """Return the error of a query whose time was over."""
    return TimeIsUpError(f"the query was cancelled after {timeout_seconds:.3f} s")

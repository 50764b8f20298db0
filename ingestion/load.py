"""Sends made messages at a steady rate, or as fast as the log takes it."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ingestion.faults import RawMessage

# The rate is kept by sending a little many times a second. Shorter slices would spend the time on
# waking up, longer ones would show as bursts in a measurement of freshness.
_SLICE_SECONDS: Final = 0.005
# How often an unbounded load looks at the clock and reports.
_UNPACED_SLICE: Final = 2_000


class MessageSink(Protocol):
    """Where messages go; in production an ``EventProducer``."""

    def send(self, event: Mapping[str, Any]) -> None:
        """Accept an event."""

    def send_encoded(self, key: bytes, payload: bytes) -> None:
        """Accept a message as it is."""

    def idle(self, seconds: float) -> None:
        """Wait for at most so long, and raise what failed meanwhile."""


@dataclass
class LoadCounts:
    """What was sent so far."""

    events: int = 0
    undecodable: int = 0

    @property
    def messages(self) -> int:
        """All messages."""
        return self.events + self.undecodable


def send_load(
    messages: Iterable[Mapping[str, Any] | RawMessage],
    sink: MessageSink,
    *,
    rate: float = 0.0,
    limit: int | None = None,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[LoadCounts], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> LoadCounts:
    """Send messages until a limit is reached, the time is up, or ``stop`` is set.

    A sender that falls behind its rate catches up as soon as it can: the number sent by any time
    is what the rate demands.

    Args:
        messages: What to send.
        sink: Where to.
        rate: Messages a second; 0 means as fast as possible.
        limit: Number of messages.
        seconds: Duration.
        stop: Set it to end the load.
        on_progress: Called after each slice.
        clock: The current time in seconds.

    Raises:
        DeliveryError: The log did not take a message.
    """
    stop = stop or threading.Event()
    counts = LoadCounts()
    started = clock()
    source = iter(messages)
    while not stop.is_set():
        elapsed = clock() - started
        if seconds is not None and elapsed >= seconds:
            break
        due = int(elapsed * rate) if rate else counts.messages + _UNPACED_SLICE
        due = due if limit is None else min(due, limit)
        if not _send_until(due, source, sink, counts):
            break
        on_progress(counts)
        if limit is not None and counts.messages >= limit:
            break
        if rate:
            sink.idle(_SLICE_SECONDS)
    return counts


def _send_until(
    due: int,
    source: Iterable[Mapping[str, Any] | RawMessage],
    sink: MessageSink,
    counts: LoadCounts,
) -> bool:
    """Send until so many messages are out; returns whether there are more."""
    missing = due - counts.messages
    if missing <= 0:
        return True
    for message in source:
        if isinstance(message, RawMessage):
            sink.send_encoded(message.key, message.payload)
            counts.undecodable += 1
        else:
            sink.send(message)
            counts.events += 1
        missing -= 1
        if not missing:
            return True
    return False

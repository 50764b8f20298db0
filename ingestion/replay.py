"""Replays recordings into the log, as fast as they were recorded, faster, or at once."""

import heapq
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ingestion.adapters import FrameAdapter, Venue, venue_of_file
from ingestion.frames import RecordedFrame, RejectedInput, read_frames
from ingestion.intake import EventSink, Intake, IntakeCounts

NANOSECONDS_PER_SECOND: Final = 1_000_000_000
# A long silence in a recording is waited out in slices, so that a stop is obeyed at once.
_WAIT_SLICE_SECONDS: Final = 0.1


class Pacer:
    """Keeps a replay in step with its recording: the first frame is now, the rest follow."""

    def __init__(
        self,
        speed: float | None,
        *,
        wait: Callable[[float], None],
        stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a pacer.

        Args:
            speed: How many recorded seconds pass in one real second; None for no waiting.
            wait: Waits for so many seconds, or less.
            stopped: Whether to wait no longer.
            clock: The current time in seconds.
        """
        if speed is not None and speed <= 0:
            raise ValueError(f"speed {speed} is not positive")
        self._speed = speed
        self._wait = wait
        self._stopped = stopped
        self._clock = clock
        self._start: tuple[int, float] | None = None

    def wait_for(self, received_at_ns: int) -> None:
        """Return when a frame that was recorded at this time is due."""
        if self._speed is None:
            return
        if self._start is None:
            self._start = (received_at_ns, self._clock())
        first_ns, started = self._start
        recorded_seconds = (received_at_ns - first_ns) / NANOSECONDS_PER_SECOND
        due = started + recorded_seconds / self._speed
        while (left := due - self._clock()) > 0 and not self._stopped():
            self._wait(min(left, _WAIT_SLICE_SECONDS))


def merged(
    recordings: Mapping[Path, FrameAdapter],
) -> Iterator[tuple[FrameAdapter, RecordedFrame | RejectedInput]]:
    """Yield the frames of several recordings in the order in which they were received."""

    def adapted(
        path: Path, adapt: FrameAdapter
    ) -> Iterator[tuple[FrameAdapter, RecordedFrame | RejectedInput]]:
        return ((adapt, item) for item in read_frames(path))

    streams = [adapted(path, adapt) for path, adapt in recordings.items()]
    return heapq.merge(*streams, key=lambda pair: pair[1].received_at_ns)


def adapters_for(files: Sequence[Path], venue: Venue | None) -> dict[Path, FrameAdapter]:
    """Return each file's adapter: that of the venue, or of the one that the file's name states.

    Raises:
        UnknownVenueError: No venue is given and a file's name states none.
    """
    return {path: (venue or venue_of_file(path)).adapt for path in files}


def replay(
    recordings: Mapping[Path, FrameAdapter],
    sink: EventSink,
    *,
    speed: float | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[IntakeCounts], None] = lambda _: None,
) -> IntakeCounts:
    """Send everything in the recordings, in the order in which it was received.

    Args:
        recordings: Files, and the adapter that reads each one's frames.
        sink: Where events and refused input go.
        speed: How many recorded seconds pass in one real second; None for no waiting.
        stop: Set it to end the replay before its time.
        on_progress: Called after each frame.

    Returns:
        What became of the input. The sink is not flushed.

    Raises:
        OSError: A file cannot be opened.
        DeliveryError: The log did not take an event.
    """
    stop = stop or threading.Event()
    intake = Intake(sink)
    pacer = Pacer(speed, wait=sink.idle, stopped=stop.is_set)
    for adapt, item in merged(recordings):
        if stop.is_set():
            break
        if isinstance(item, RejectedInput):
            intake.reject(item.payload, reason=item.reason, detail=item.detail, source=item.source)
        else:
            pacer.wait_for(item.received_at_ns)
            if stop.is_set():
                break
            intake.accept(
                adapt, item.payload, received_at_ns=item.received_at_ns, source=item.source
            )
        on_progress(intake.counts)
    return intake.counts

"""What becomes of a frame: an event, a dead letter, or nothing."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Protocol

from ingestion.adapters import FrameAdapter, FrameRejectedError, MarketEvent

NANOSECONDS_PER_MICROSECOND: Final = 1_000


class EventSink(Protocol):
    """Where events and refused input go; in production a ``MarketProducer``."""

    def send(self, event: MarketEvent) -> None:
        """Accept an event."""

    def refuse(
        self,
        payload: bytes,
        *,
        reason: str,
        detail: str,
        source: str,
        received_at_ns: int | None = None,
    ) -> None:
        """Accept what could not be made an event."""

    def idle(self, seconds: float) -> None:
        """Wait for at most so long, and raise what failed meanwhile."""


@dataclass
class IntakeCounts:
    """What became of the input so far."""

    frames: int = 0
    bytes: int = 0
    """Of the frames, as they came."""
    ignored: int = 0
    """Frames about something other than a trade or a quote."""
    events: Counter[str] = field(default_factory=Counter)
    """Events by ``venue:symbol``."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Refused input by reason."""


class Intake:
    """Adapts frames one by one and passes on what comes of them, counting."""

    def __init__(self, sink: EventSink) -> None:
        self.sink = sink
        self.counts = IntakeCounts()

    def accept(
        self, adapt: FrameAdapter, frame: bytes | str, *, received_at_ns: int, source: str
    ) -> MarketEvent | None:
        """Adapt a frame and send its event; a frame that is refused becomes a dead letter.

        Returns:
            The event that was sent, or None.
        """
        self.counts.frames += 1
        self.counts.bytes += _size(frame)
        try:
            event = adapt(frame, received_at_ns // NANOSECONDS_PER_MICROSECOND)
        except FrameRejectedError as error:
            payload = frame.encode(errors="surrogatepass") if isinstance(frame, str) else frame
            self.counts.rejected[error.reason] += 1
            self.sink.refuse(
                payload,
                reason=error.reason,
                detail=error.detail,
                source=source,
                received_at_ns=received_at_ns,
            )
            return None
        if event is None:
            self.counts.ignored += 1
            return None
        self.sink.send(event)
        self.counts.events[f"{event['venue']}:{event['symbol']}"] += 1
        return event

    def reject(self, payload: bytes, *, reason: str, detail: str, source: str) -> None:
        """Pass on input that is not even a frame."""
        self.counts.rejected[reason] += 1
        self.sink.refuse(payload, reason=reason, detail=detail, source=source)


def _size(frame: bytes | str) -> int:
    """Return how many bytes a frame is; nearly all text of exchanges is ASCII."""
    if isinstance(frame, str) and not frame.isascii():
        frame = frame.encode(errors="surrogatepass")
    return len(frame)

"""What a dead letter becomes when it is given another try: a message for the log, or nothing.

What was refused in the log is sent again as it is, with the same key. A frame that a producer's
adapter refused was never an event: it is given to the adapter again, which may be mended by now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ingestion.adapters import (
    VENUES,
    FrameRejectedError,
    UnknownVenueError,
    Venue,
    event_key,
    is_trade,
    venue_of_file,
)
from ingestion.dead_letters.letters import DeadLetter
from ingestion.frames import MALFORMED_LINE, parse_line
from ingestion.intake import NANOSECONDS_PER_MICROSECOND
from ingestion.producer import PAYLOAD_BYTES_HEADER, RECEIVED_AT_HEADER
from lakehouse.dispatch import Message
from lakehouse.kafka import DEAD_LETTERS_TOPIC, EVENT_TOPICS, QUOTES_TOPIC, TRADES_TOPIC
from schemas.wire import UnencodableError

# Reasons of a producer's dead letters that hold no frame: the rest of a file that could not be
# read, an event that was too large for the log, or one that must not be written down. Their source
# has to be sent again.
WITHOUT_FRAME: Final = frozenset(
    {
        "not_gzip",
        "corrupt_gzip",
        "truncated_gzip",
        "line_too_long",
        "message_too_large",
        "unprotected_field",
    }
)
Encode = Callable[[str, Mapping[str, Any]], bytes]
"""Topic and event → payload."""


@dataclass(frozen=True)
class Refused:
    """The adapter refuses it still."""

    detail: str


@dataclass(frozen=True)
class Ignored:
    """The adapter finds no event in it."""


@dataclass(frozen=True)
class Unfit:
    """There is nothing that could be sent again."""

    detail: str


Remade = Message | Refused | Ignored | Unfit


class Remaker:
    """Makes messages of dead letters.

    Args:
        encode: Encodes an event that an adapter has made.
        venue: Whose frames they are; left out, their source tells.
    """

    def __init__(self, encode: Encode, venue: Venue | None = None) -> None:
        self._encode = encode
        self._venue = venue

    def remake(self, letter: DeadLetter) -> Remade:
        """Return what becomes of a letter."""
        if letter.place is None:
            return Unfit("never reached the log: mend its source and give that in again")
        if letter.payload is None:
            return Unfit("has no payload")
        if letter.place.topic == DEAD_LETTERS_TOPIC:
            return self._of_frame(letter, letter.payload)
        if letter.place.topic not in EVENT_TOPICS:
            return Unfit(f"its topic {letter.place.topic} is not one of events")
        # Without a key chance would choose the partition: another one for each try.
        partition = None if letter.key is not None else letter.place.partition
        return Message(letter.place.topic, letter.key, letter.payload, partition, letter.headers)

    def _of_frame(self, letter: DeadLetter, payload: bytes) -> Remade:
        if letter.reason in WITHOUT_FRAME or PAYLOAD_BYTES_HEADER in letter.headers:
            return Unfit(f"holds no whole frame: send {letter.source or 'its source'} again")
        received_at_ns = _received_at_ns(letter)
        if letter.reason == MALFORMED_LINE:
            if (found := parse_line(payload)) is None:
                return Refused(f"{MALFORMED_LINE}: is not '<receive time, ns> <frame>'")
            received_at_ns, payload = found
        try:
            venue = self._venue or venue_of_source(letter.source)
            event = venue.adapt(
                payload, received_at_ns and received_at_ns // NANOSECONDS_PER_MICROSECOND
            )
            if event is None:
                return Ignored()
            topic = TRADES_TOPIC if is_trade(event) else QUOTES_TOPIC
            return Message(topic, event_key(event), self._encode(topic, event))
        except UnknownVenueError as error:
            return Unfit(str(error))
        except (FrameRejectedError, UnencodableError) as error:
            return Refused(str(error))


def _received_at_ns(letter: DeadLetter) -> int | None:
    try:
        return int(letter.headers[RECEIVED_AT_HEADER])
    except (KeyError, ValueError):
        return None


def venue_of_source(source: str | None, venues: Mapping[str, Venue] = VENUES) -> Venue:
    """Return the venue whose stream or recording a frame came from.

    Args:
        source: ``file:line``, or the address of a stream.
        venues: Those that are known.

    Raises:
        UnknownVenueError: The source names none.
    """
    for venue in venues.values():
        if source is not None and source.startswith(venue.default_base):
            return venue
    return venue_of_file(Path((source or "").rpartition(":")[0] or "the frame"))

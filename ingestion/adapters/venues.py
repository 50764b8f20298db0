"""Which venues are known, and which module speaks each one's language."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from ingestion.adapters import binance
from ingestion.adapters.canonical import MarketEvent
from lakehouse.errors import LakehouseError

FrameAdapter = Callable[[bytes | str, int | None], MarketEvent | None]
"""Frame and receive time (UTC microseconds) → event, or None for a frame about something else."""


class UnknownVenueError(LakehouseError):
    """No adapter speaks the language of this venue."""

    exit_code = 2


class Venue(NamedTuple):
    """A market whose frames can be read: one entry here is all that a new exchange needs."""

    name: str
    adapt: FrameAdapter
    stream_address: Callable[[str, Sequence[str]], str]
    """Base address and symbols → address of the WebSocket that streams their trades and quotes."""
    default_base: str


VENUES: Final[Mapping[str, Venue]] = MappingProxyType(
    {
        market.venue: Venue(
            name=market.venue,
            adapt=market.event,
            stream_address=binance.stream_address,
            default_base=market.base_address,
        )
        for market in binance.MARKETS
    }
)


def venue_named(name: str) -> Venue:
    """Return a venue by its name.

    Raises:
        UnknownVenueError: There is no such venue; the message lists those that are known.
    """
    if name not in VENUES:
        raise UnknownVenueError(f"unknown venue {name!r}; known are: {', '.join(sorted(VENUES))}")
    return VENUES[name]


def venue_of_file(path: Path) -> Venue:
    """Return the venue that a recording's file name starts with, as the shipped sample's do.

    Raises:
        UnknownVenueError: The name starts with no known venue.
    """
    for name, venue in VENUES.items():
        if re.match(rf"{re.escape(name)}(?![a-z0-9])", path.name):
            return venue
    raise UnknownVenueError(
        f"{path.name} does not start with the name of a venue: say --venue "
        f"{'|'.join(sorted(VENUES))}"
    )

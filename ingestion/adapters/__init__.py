"""From each venue's own frames to the one canonical trade event.

An adapter is a pure function, and the only place that knows its venue's field names, units and
habits. It checks shape and types. Whether a well-typed value makes sense (a negative price, say)
is decided once, by the transforms that both layers run.
"""

from ingestion.adapters.canonical import (
    FrameRejectedError,
    MarketEvent,
    QuoteEvent,
    TradeEvent,
    event_key,
    is_trade,
)
from ingestion.adapters.venues import (
    VENUES,
    FrameAdapter,
    UnknownVenueError,
    Venue,
    venue_named,
    venue_of_file,
)

__all__ = [
    "VENUES",
    "FrameAdapter",
    "FrameRejectedError",
    "MarketEvent",
    "QuoteEvent",
    "TradeEvent",
    "UnknownVenueError",
    "Venue",
    "event_key",
    "is_trade",
    "venue_named",
    "venue_of_file",
]

"""The recorded market that simulated orders are filled on."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from ingestion.adapters import FrameAdapter, FrameRejectedError, is_trade
from ingestion.frames import RejectedInput
from ingestion.intake import NANOSECONDS_PER_MICROSECOND
from ingestion.replay import merged
from lakehouse.errors import LakehouseError


class NoMarketError(LakehouseError):
    """The recordings hold no trade."""


class MarketTrade(NamedTuple):
    """What an order needs to know of a trade; the time is UTC microseconds since 1970."""

    venue: str
    symbol: str
    event_time: int
    price: Decimal


def recorded_market(recordings: Mapping[Path, FrameAdapter]) -> list[MarketTrade]:
    """Read the trades of some recordings, in the order in which they were received.

    Frames that cannot be read are passed over: to replay the recording makes dead letters of them.
    All trades are held, some 200 bytes each.

    Args:
        recordings: Files, and the adapter that reads each one's frames.

    Raises:
        NoMarketError: There is no trade in them.
        OSError: A file cannot be opened.
    """
    market = []
    for adapt, item in merged(recordings):
        if isinstance(item, RejectedInput):
            continue
        try:
            event = adapt(item.payload, item.received_at_ns // NANOSECONDS_PER_MICROSECOND)
        except FrameRejectedError:
            continue
        if event is None or not is_trade(event):
            continue
        price = event["price"]
        if price is not None and price > 0:
            market.append(MarketTrade(event["venue"], event["symbol"], event["event_time"], price))
    if not market:
        names = ", ".join(path.name for path in recordings)
        raise NoMarketError(f"no trade was found in {names}: there is nothing to trade against")
    return market

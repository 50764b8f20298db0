"""Sends what a market reports to the log: trades and quotes, each to its topic."""

from collections.abc import Iterator
from contextlib import contextmanager

from ingestion.adapters import MarketEvent, is_trade
from ingestion.producer import EventProducer
from ingestion.sending import connected_producer
from lakehouse.kafka import QUOTES_TOPIC


class MarketProducer:
    """Where frames go once they are events; also what they could not become."""

    def __init__(self, trades: EventProducer, quotes: EventProducer) -> None:
        self._trades = trades
        self._quotes = quotes

    def send(self, event: MarketEvent) -> None:
        """Hand an event over to the producer of its topic; see ``EventProducer.send``."""
        (self._trades if is_trade(event) else self._quotes).send(event)

    def refuse(
        self,
        payload: bytes,
        *,
        reason: str,
        detail: str,
        source: str,
        received_at_ns: int | None = None,
    ) -> None:
        """Send what could not be made an event to the dead letters."""
        self._trades.refuse(
            payload, reason=reason, detail=detail, source=source, received_at_ns=received_at_ns
        )

    def idle(self, seconds: float) -> None:
        """Wait for at most so long, and hear of failed deliveries while at it."""
        self._quotes.idle(0)
        self._trades.idle(seconds)

    def flush(self) -> None:
        """Wait until all is acknowledged; see ``EventProducer.flush``."""
        self._trades.flush()
        self._quotes.flush()


@contextmanager
def market_producer() -> Iterator[MarketProducer]:
    """Connect to the topics of trades and quotes; flush both at the end."""
    with connected_producer() as trades, connected_producer(QUOTES_TOPIC) as quotes:
        yield MarketProducer(trades, quotes)

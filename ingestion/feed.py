"""The live feed: an exchange's public WebSocket, kept open for as long as it takes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException

from ingestion.adapters import FrameAdapter, TradeEvent, is_trade
from ingestion.intake import Intake
from lakehouse.errors import LakehouseError

log = structlog.get_logger(__name__)

# A busy symbol trades many times a second. Half a minute of silence is a dead connection that
# nobody has told us about, or so quiet a market that connecting again costs nothing.
STALL_SECONDS: Final = 30.0
# The exchange answers pings within milliseconds; twenty seconds cover a slow line.
HEARTBEAT_SECONDS: Final = 20.0
CONNECT_SECONDS: Final = 10.0
# The first wait is short, since most drops are the exchange's daily ones. The longest keeps well
# clear of its limit of 300 connections in five minutes.
FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 30.0
# Trade frames have 200 bytes. What is far larger is read all the same, and refused with a reason.
MAX_FRAME_BYTES: Final = 32 * 1024 * 1024
_LARGEST_EXPONENT: Final = 32


class FeedAddressError(LakehouseError):
    """The address is no WebSocket address; trying again would not help."""

    exit_code = 2


class StalledError(Exception):
    """The connection is open, but nothing has come for too long."""


def full_jitter(attempt: int, *, first_seconds: float, longest_seconds: float) -> float:
    """Return a random wait below an exponentially growing bound, so that clients spread out.

    The method is "full jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015.
    """
    bound = first_seconds * 2.0 ** min(attempt, _LARGEST_EXPONENT)
    return random.uniform(0, min(longest_seconds, bound))  # noqa: S311 - spreads load only


@dataclass
class TradeSequence:
    """Finds the trades that a feed left out: a symbol's trade ids count up by one."""

    gaps: int = 0
    missing_trades: int = 0
    repeated_trades: int = 0
    _last: dict[str, int] = field(default_factory=dict)

    def observe(self, symbol: str, trade_id: int) -> int:
        """Take note of a trade; returns how many were left out just before it.

        An id that is not above the last one is a repetition, as after a reconnect.
        """
        last = self._last.get(symbol)
        if last is not None and trade_id <= last:
            self.repeated_trades += 1
            return 0
        self._last[symbol] = trade_id
        missing = 0 if last is None else trade_id - last - 1
        if missing:
            self.gaps += 1
            self.missing_trades += missing
        return missing


@dataclass
class ConnectionCounts:
    """What the connection went through so far."""

    connections: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    """Connections that ended or never came about, by what ended them."""


@dataclass(frozen=True)
class Patience:
    """How long the feed waits for what, in seconds."""

    stall_seconds: float = STALL_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    connect_seconds: float = CONNECT_SECONDS
    first_backoff_seconds: float = FIRST_BACKOFF_SECONDS
    longest_backoff_seconds: float = LONGEST_BACKOFF_SECONDS


class Feed:
    """Follows a stream of trades until it is told to stop, through every loss of connection."""

    def __init__(
        self,
        address: str,
        adapt: FrameAdapter,
        intake: Intake,
        *,
        patience: Patience | None = None,
        on_frame: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self.sequence = TradeSequence()
        self.connection = ConnectionCounts()
        self._adapt = adapt
        self._intake = intake
        self._patience = patience or Patience()
        self._on_frame = on_frame
        self._failed_attempts = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the stream until ``stop`` is set.

        Raises:
            DeliveryError: The log did not take an event.
            FeedAddressError: The address is no WebSocket address.
        """
        following = asyncio.create_task(self._follow())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            stopping.cancel()
            await asyncio.wait({following, stopping})
        if not following.cancelled():
            following.result()

    async def _follow(self) -> None:
        while True:
            try:
                await self._converse()
            except InvalidURI as error:
                raise FeedAddressError(f"cannot follow {self.address}: {error}") from error
            except (OSError, StalledError, WebSocketException) as error:
                # TimeoutError is an OSError: connecting took too long.
                self._dropped(error)
            self._intake.sink.idle(0)
            wait = full_jitter(
                self._failed_attempts,
                first_seconds=self._patience.first_backoff_seconds,
                longest_seconds=self._patience.longest_backoff_seconds,
            )
            self._failed_attempts += 1
            await asyncio.sleep(wait)

    async def _converse(self) -> None:
        """Connect, and take frames until the connection ends, which is always by an exception."""
        async with connect(
            self.address,
            open_timeout=self._patience.connect_seconds,
            ping_interval=self._patience.heartbeat_seconds,
            ping_timeout=self._patience.heartbeat_seconds,
            # A peer that is gone does not say goodbye; don't wait for it.
            close_timeout=1,
            max_size=MAX_FRAME_BYTES,
        ) as connection:
            self.connection.connections += 1
            log.info("connected", address=self.address, connections=self.connection.connections)
            while True:
                self._take(await self._next_frame(connection))

    async def _next_frame(self, connection: ClientConnection) -> bytes | str:
        try:
            async with asyncio.timeout(self._patience.stall_seconds):
                return await connection.recv()
        except TimeoutError:
            raise StalledError(f"no frame for {self._patience.stall_seconds:g} s") from None

    def _take(self, frame: bytes | str) -> None:
        self._failed_attempts = 0
        event = self._intake.accept(
            self._adapt, frame, received_at_ns=time.time_ns(), source=self.address
        )
        if event is not None and is_trade(event):
            self._check_sequence(event)
        self._on_frame()

    def _check_sequence(self, event: TradeEvent) -> None:
        missing = self.sequence.observe(event["symbol"], event["trade_id"])
        if missing:
            log.warning(
                "trades are missing",
                venue=event["venue"],
                symbol=event["symbol"],
                before_trade_id=event["trade_id"],
                missing_trades=missing,
            )

    def _dropped(self, error: Exception) -> None:
        self.connection.drops[type(error).__name__] += 1
        log.warning(
            "connection lost",
            address=self.address,
            error=type(error).__name__,
            detail=str(error),
            failed_attempts=self._failed_attempts,
        )

"""The live feed against a WebSocket server that behaves as badly as a real one may."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from ingestion.adapters import TradeEvent, venue_named
from ingestion.feed import Feed, FeedAddressError, Patience, TradeSequence, full_jitter
from ingestion.intake import Intake
from lakehouse.delivery import DeliveryError

pytestmark = pytest.mark.integration

SAMPLE = Path(__file__).parents[3] / "demo" / "data" / "binance_spot_btcusdt.trades.gz"
FIRST_ID = 3735683259
DEADLINE_SECONDS = 20
IMPATIENT = Patience(
    stall_seconds=0.3,
    heartbeat_seconds=0.3,
    connect_seconds=1,
    first_backoff_seconds=0.01,
    longest_backoff_seconds=0.05,
)

Session = Callable[[ServerConnection], Awaitable[None]]


def recorded(count: int) -> list[str]:
    with gzip.open(SAMPLE, "rt") as lines:
        return [next(lines).partition(" ")[2].rstrip() for _ in range(count)]


class Sink:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.events: list[TradeEvent] = []
        self.refused: list[tuple[bytes, str, str]] = []
        self.failure: DeliveryError | None = None

    @property
    def ids(self) -> list[int]:
        return [event["trade_id"] - FIRST_ID for event in self.events]

    def send(self, event: TradeEvent) -> None:
        if self.failure:
            raise self.failure
        self.events.append(event)

    def refuse(
        self,
        payload: bytes,
        *,
        reason: str,
        detail: str,
        source: str,
        received_at_ns: int | None = None,
    ) -> None:
        self.refused.append((payload, reason, source))

    def idle(self, seconds: float) -> None:
        pass


@asynccontextmanager
async def exchange(*sessions: Session) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve each connection by the next session, and all further ones by the last."""
    requests: list[str] = []
    waiting = list(sessions)

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        requests.append(connection.request.path)
        session = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        await session(connection)

    async with serve(handle, "127.0.0.1", 0, close_timeout=0.1) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}", requests


def sends(frames: list[str | bytes] | list[str], then: str = "close") -> Session:
    async def session(connection: ServerConnection) -> None:
        for frame in frames:
            await connection.send(frame)
        if then == "drop":
            connection.transport.abort()
        elif then == "stall":
            await connection.wait_closed()

    return session


def follow(base: str, sink: Sink) -> Feed:
    venue = venue_named("binance_spot")
    address = venue.stream_address(base, ["BTCUSDT"])
    return Feed(address, venue.adapt, Intake(sink), patience=IMPATIENT)


async def until(condition: Callable[[], bool], feed: Feed) -> None:
    """Run the feed until the condition holds."""
    stop = asyncio.Event()

    async def watch() -> None:
        while not condition():
            await asyncio.sleep(0.01)
        stop.set()

    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(feed.run(stop), watch())


async def check_replayed_frames_become_events() -> None:
    sink = Sink()
    async with exchange(sends(recorded(500), then="stall")) as (base, requests):
        feed = follow(base, sink)
        await until(lambda: len(sink.events) == 500, feed)
    assert sink.ids == list(range(500))
    assert requests == ["/stream?streams=btcusdt@trade/btcusdt@bookTicker"]
    assert (feed.connection.connections, feed.connection.drops) == (1, {})
    assert (feed.sequence.gaps, feed.sequence.repeated_trades) == (0, 0)


async def check_drop_and_close_are_reconnected_and_gaps_counted() -> None:
    frames = recorded(100)
    sink = Sink()
    sessions = (
        sends(frames[:40], then="close"),
        sends(frames[30:50], then="drop"),
        sends(frames[60:], then="stall"),
    )
    async with exchange(*sessions) as (base, _):
        feed = follow(base, sink)
        await until(lambda: 99 in sink.ids, feed)
    # What is repeated passes: duplicates are for the transforms, which see all of the log.
    assert sink.ids[:60] == [*range(40), *range(30, 50)]
    assert sink.ids[60:] == list(range(60, 100))
    assert feed.connection.connections == 3
    assert feed.connection.drops == {"ConnectionClosedOK": 1, "ConnectionClosedError": 1}
    assert feed.sequence.repeated_trades == 10
    assert (feed.sequence.gaps, feed.sequence.missing_trades) == (1, 10)


async def check_stalled_connection_is_left() -> None:
    frames = recorded(20)
    sink = Sink()
    sessions = (sends(frames[:10], then="stall"), sends(frames[10:], then="stall"))
    async with exchange(*sessions) as (base, _):
        feed = follow(base, sink)
        await until(lambda: len(sink.events) == 20, feed)
    assert sink.ids == list(range(20))
    assert feed.connection.drops == {"StalledError": 1}


async def check_garbage_becomes_dead_letters_and_the_rest_goes_on() -> None:
    first, second, third = recorded(3)
    garbage: list[str | bytes] = [
        first,
        "{",
        b"\xff\x00\x17",
        second[:-30],
        '{"stream":"btcusdt@trade","data":{"e":"trade"}}',
        "x" * 2_000_000,
        '{"result":null,"id":1}',
        second.encode(),
        third,
    ]
    sink = Sink()
    async with exchange(sends(garbage, then="stall")) as (base, _):
        feed = follow(base, sink)
        await until(lambda: len(sink.events) == 3, feed)
    assert sink.ids == [0, 1, 2]
    assert [reason for _, reason, _ in sink.refused] == [
        "malformed_json",
        "malformed_encoding",
        "malformed_json",
        "missing_field",
        "malformed_json",
    ]
    assert sink.refused[1][0] == b"\xff\x00\x17"
    assert {source for *_, source in sink.refused} == {feed.address}


async def check_server_that_speaks_no_websocket_is_tried_again() -> None:
    calls = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.write(b"SSH-2.0-nothing\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        feed = follow(f"ws://127.0.0.1:{port}", Sink())
        await until(lambda: calls >= 3, feed)
    assert feed.connection.connections == 0
    assert feed.connection.drops.total() >= 2


async def check_server_that_is_away_is_waited_for() -> None:
    async with exchange(sends([])) as (base, _):
        pass
    feed = follow(base, Sink())
    await until(lambda: feed.connection.drops.total() >= 3, feed)
    assert feed.connection.connections == 0


async def check_failed_delivery_ends_the_feed() -> None:
    sink = Sink()
    sink.failure = DeliveryError("market.trades", b"k", 1, "no broker")
    async with exchange(sends(recorded(1), then="stall")) as (base, _):
        feed = follow(base, sink)
        with pytest.raises(DeliveryError):
            async with asyncio.timeout(DEADLINE_SECONDS):
                await feed.run(asyncio.Event())


async def check_wrong_address_is_an_error_at_once() -> None:
    with pytest.raises(FeedAddressError, match="https://"):
        await follow("https://example.invalid", Sink()).run(asyncio.Event())


@pytest.mark.parametrize(
    "check",
    [
        check_replayed_frames_become_events,
        check_drop_and_close_are_reconnected_and_gaps_counted,
        check_stalled_connection_is_left,
        check_garbage_becomes_dead_letters_and_the_rest_goes_on,
        check_server_that_speaks_no_websocket_is_tried_again,
        check_server_that_is_away_is_waited_for,
        check_failed_delivery_ends_the_feed,
        check_wrong_address_is_an_error_at_once,
    ],
    ids=lambda check: check.__name__.removeprefix("check_"),
)
def test_feed(check: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await check()

    asyncio.run(run())


def test_sequence_finds_gaps_by_symbol() -> None:
    sequence = TradeSequence()
    seen = [("A", 5), ("B", 1), ("A", 6), ("A", 9), ("B", 2), ("A", 7), ("A", 10)]
    assert [sequence.observe(*trade) for trade in seen] == [0, 0, 0, 2, 0, 0, 0]
    assert (sequence.gaps, sequence.missing_trades, sequence.repeated_trades) == (1, 2, 1)


def test_backoff_grows_to_its_bound_and_is_spread_evenly() -> None:
    def waits(attempt: int) -> list[float]:
        return [full_jitter(attempt, first_seconds=1, longest_seconds=8) for _ in range(2_000)]

    for attempt, bound in [(0, 1), (1, 2), (3, 8), (4, 8), (10_000, 8)]:
        drawn = waits(attempt)
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound
        assert sum(drawn) / len(drawn) == pytest.approx(bound / 2, rel=0.1)

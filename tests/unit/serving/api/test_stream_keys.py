"""The stream and its readers' keys: how many read by one, and what becomes of them without it."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anyio import fail_after
from fastapi.sse import ServerSentEvent
from served_rows import as_told, bar_of
from told import ToldStore

from lakehouse.settings import Settings
from serving.api import stream as streams
from serving.api.authentication import REMEMBERED_SECONDS, KnownKeys
from serving.api.keys import ApiKey, ApiKeys
from serving.api.problems import RATE_LIMITED, ProblemError
from serving.api.stream import Stream

pytestmark = [pytest.mark.serving, pytest.mark.anyio]

Events = AsyncGenerator[ServerSentEvent, None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(settings: Settings) -> ToldStore:
    live = ToldStore(settings)
    live.tell("bars_1m", [as_told(bar_of(3, 203))])
    live.tell_progress({0: 203}, age_seconds=-3600)
    return live


@pytest.fixture
def stream(live: ToldStore, keys: ApiKeys, clock: Clock) -> Stream:
    return Stream(live, KnownKeys(keys, clock=clock))


def made(keys: ApiKeys) -> dict[str, Any]:
    brought = keys.create("reader")
    return {"key": keys.find(brought), "brought": brought}


def opened(stream: Stream, key: ApiKey, brought: str) -> Events:
    return stream.events(["bars_1m"], {}, {}, key=key, brought=brought)


async def test_a_stream_ends_with_its_key(
    stream: Stream, live: ToldStore, keys: ApiKeys, clock: Clock
) -> None:
    reader = made(keys)
    events = opened(stream, **reader)
    assert '"last_offset":203' in str((await anext(events)).raw_data)
    keys.revoke(reader["key"].id)
    live.tell("bars_1m", [as_told(bar_of(3, 204))])
    assert '"last_offset":204' in str((await anext(events)).raw_data)  # it is remembered
    clock.now += REMEMBERED_SECONDS + 1
    live.tell("bars_1m", [as_told(bar_of(3, 205))])
    with fail_after(10), pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_a_key_leaves_room_for_others(
    stream: Stream, keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_READERS_OF_A_KEY", 2)
    reader, other = made(keys), made(keys)
    reading = [opened(stream, **reader) for _ in range(2)]
    for events in reading:
        stream.check(reader["key"], ["bars_1m"])
        await anext(events)
    with pytest.raises(ProblemError, match="by this key already") as refused:
        stream.check(reader["key"], ["bars_1m"])
    assert refused.value.kind is RATE_LIMITED
    stream.check(other["key"], ["bars_1m"])
    for events in reading:
        await events.aclose()
    stream.check(reader["key"], ["bars_1m"])

"""Live rows as server-sent events.

Nothing is queued for a reader: one that comes back late is told the newest row of each key. One
that takes nothing for long is left, by `serving.api.slow_clients`.
"""

import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Collection
from contextlib import aclosing
from typing import Annotated, Any, Literal

from cachetools import LRUCache
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from serving.api import metrics, problems
from serving.api.asking import MOST_NAMES
from serving.api.authentication import KnownKeys, authenticated, brought_key, check_reach
from serving.api.examples import TEXTS
from serving.api.keys import ApiKey
from serving.api.live import LiveRows, is_running
from serving.api.problems import ProblemError, documented
from serving.api.relations import Dataset
from serving.live.relations import LiveRow
from serving.parameters import Name

LiveRelation = Literal["bars_1m", "spreads_1m", "positions"]
DATASETS: dict[LiveRelation, Dataset] = {
    "bars_1m": "market",
    "spreads_1m": "market",
    "positions": "clients",
}
# The same row goes to everybody who follows its instrument: it is spelled out once.
_SPELLED_ROWS = 10_000
# Of a position in the log.
_MOST_DIGITS = 19
# A thousand readers at ten events a second are a core's work.
MOST_READERS = 2_000
# One that loses its streams and opens new ones leaves room for others.
MOST_READERS_OF_A_KEY = 100


class Stream:
    """Tells readers of rows as they change.

    Args:
        live: The live tier's rows; None where they are not followed.
        keys: Tells whether a reader's key is still one.
    """

    def __init__(self, live: LiveRows | None, keys: KnownKeys) -> None:
        self._live = live
        self._keys = keys
        self._readers: Counter[str] = Counter()
        self._spelled: LRUCache[tuple[str, int], str] = LRUCache(_SPELLED_ROWS)

    def check(self, key: ApiKey, relations: Collection[LiveRelation]) -> None:
        """See to it that a reader of some relations can be served.

        Raises:
            ProblemError: The live tier is not running, or there are too many readers.
        """
        if not is_running(self._live, *relations):
            said = "the live tier has told of no progress lately: nothing can be streamed"
            raise ProblemError(problems.NO_LIVE_TIER, said, headers={"Retry-After": "5"})
        if self._readers[key.id] >= MOST_READERS_OF_A_KEY:
            said = f"{MOST_READERS_OF_A_KEY} read the stream by this key already"
            raise ProblemError(problems.RATE_LIMITED, said, headers={"Retry-After": "5"})
        if self._readers.total() >= MOST_READERS:
            said = f"{MOST_READERS} read the stream already"
            raise ProblemError(problems.OVERLOADED, said, headers={"Retry-After": "5"})

    async def events(
        self,
        relations: list[LiveRelation],
        named: dict[str, list[str]],
        after: dict[str, int],
        *,
        key: ApiKey,
        brought: str,
    ) -> AsyncGenerator[ServerSentEvent]:
        """Yield the rows that are held, then those that change, while the reader's key is valid.

        Args:
            relations: Whose rows.
            named: By column, the values that rows may have; any where there are none.
            after: By relation, the position that the reader has seen.
            key: The reader's.
            brought: The same, as it was sent.
        """
        if self._live is None:
            return
        tests = {column: frozenset(values) for column, values in named.items() if values}

        def is_wanted(row: LiveRow) -> bool:
            return all(row.values.get(column) in values for column, values in tests.items())

        seen = dict(after)
        self._count(key, 1)
        try:
            async for row in self._live.subscribe(relations, wanted=is_wanted, after=after):
                if not await self._keys.opens(brought):
                    return
                seen[row.relation] = row.position
                metrics.STREAM_EVENTS.inc()
                yield ServerSentEvent(
                    raw_data=self._spelling(row), event=row.relation, id=_spelled_places(seen)
                )
        finally:
            self._count(key, -1)

    def _count(self, key: ApiKey, more: int) -> None:
        self._readers[key.id] += more
        if not self._readers[key.id]:
            del self._readers[key.id]
        metrics.STREAM_CLIENTS.set(self._readers.total())

    def _spelling(self, row: LiveRow) -> str:
        place = row.relation, row.position
        if (known := self._spelled.get(place)) is None:
            known = self._spelled[place] = json.dumps(row.shown(), separators=(",", ":"))
        return known


def routes(live: LiveRows | None, keys: KnownKeys) -> APIRouter:
    """Return the route of the stream."""
    router, stream = APIRouter(tags=["market"]), Stream(live, keys)

    def may_read(
        request: Request,
        _key: Annotated[None, Depends(authenticated)],
        relation: Annotated[list[LiveRelation] | None, Query(examples=[["bars_1m"]])] = None,
    ) -> list[LiveRelation]:
        wanted = relation or ["bars_1m"]
        for name in wanted:
            check_reach(request, DATASETS[name])
        stream.check(request.state.key, wanted)
        return wanted

    async def followed(
        request: Request,
        relations: Annotated[list[LiveRelation], Depends(may_read)],
        named: Annotated[dict[str, list[str]], Depends(_named)],
        last_event_id: Annotated[str | None, Header(examples=["bars_1m=4217"])] = None,
    ) -> AsyncIterator[AsyncIterable[ServerSentEvent]]:
        after = _places(last_event_id or "")
        key, brought = request.state.key, brought_key(request.scope) or ""
        # FastAPI leaves a stream's generator to the garbage collector, and with it the reader's
        # place. A dependency ends with the request.
        events = stream.events(relations, named, after, key=key, brought=brought)
        async with aclosing(events):
            yield events

    @router.get(
        "/v1/stream",
        response_class=EventSourceResponse,
        responses=documented(
            problems.UNAUTHENTICATED,
            problems.FORBIDDEN,
            problems.INVALID_REQUEST,
            problems.RATE_LIMITED,
            problems.NO_LIVE_TIER,
        ),
    )
    async def read(
        events: Annotated[AsyncIterable[ServerSentEvent], Depends(followed)],
    ) -> AsyncIterable[ServerSentEvent]:
        """Follow live rows as they change: `event` names the relation, `data` is the row.

        The rows that are held come first. A row whose count is 0 says that nothing is left of it.
        `Last-Event-ID` goes on from an event; what changed meanwhile is told once. The stream ends
        when the key does.
        """
        async for event in events:
            yield event

    return router


def _names(column: str) -> Any:
    return Query(max_length=MOST_NAMES, examples=[[TEXTS[column]]])


def _named(
    venue: Annotated[list[Name], _names("venue")] = [],  # noqa: B006 - FastAPI copies it
    symbol: Annotated[list[Name], _names("symbol")] = [],  # noqa: B006
    customer_id: Annotated[list[Name], _names("customer_id")] = [],  # noqa: B006
) -> dict[str, list[str]]:
    return {"venue": venue, "symbol": symbol, "customer_id": customer_id}


def _spelled_places(places: dict[str, int]) -> str:
    return ";".join(f"{name}={place}" for name, place in sorted(places.items()))


def _places(spelled: str) -> dict[str, int]:
    """Return the places of an event's id; of what is none, nothing: all rows are told again."""
    parts = (part.partition("=") for part in spelled.split(";"))
    return {
        name: int(at)
        for name, _, at in parts
        if at.isascii() and at.isdigit() and len(at) <= _MOST_DIGITS
    }

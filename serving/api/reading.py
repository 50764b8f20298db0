"""Pages of rows: from the SQL engine, the cache or the live tier, whatever can answer."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from sqlglot import exp

from serving.api import metrics
from serving.api.answers import Answer, Meta
from serving.api.asking import Ask
from serving.api.cache import AnswerCache
from serving.api.commits import Commits
from serving.api.deadlines import Deadline, DeadlineExceededError
from serving.api.gate import EngineDownError, Gate
from serving.api.live import LiveRows, is_running, live_answer
from serving.api.merging import hidden_through, may_take_live, with_live
from serving.api.paging import cursor_after, place_in
from serving.api.partitions import Partitions
from serving.api.published import Published
from serving.api.query import page_query, tombstone_query
from serving.api.seats import Seats
from serving.engines import Engine

# The speed layer commits every second: who asks more often sees nothing new.
PRESENT_SECONDS = 1.0
# The past changes no more, but for what upkeep expires of it.
PAST_SECONDS = 60.0
# Looking through live rows is Python's work, of milliseconds: more threads would do no more of it.
LOOKS_AT_ONCE, MOST_LOOKS = 2, 5_000


class Reader:
    """Answers what is asked for.

    Args:
        gate: The way to the SQL engine.
        commits: Tells when tables were last written.
        published: Tells how far batch has come.
        cache: Answers that were made lately.
        live: The live tier's rows, if they are followed.
    """

    def __init__(
        self,
        gate: Gate,
        commits: Commits,
        published: Published,
        cache: AnswerCache,
        live: LiveRows | None,
    ) -> None:
        self._gate = gate
        self._commits = commits
        self._published = published
        self._cache = cache
        self._live = live
        self._partitions = Partitions()
        self._looks = Seats(LOOKS_AT_ONCE, what="live tier", most_waiting=MOST_LOOKS)

    async def page(self, ask: Ask, deadline: Deadline) -> Answer:
        """Return a page; an older or a poorer one, marked so, while the engine is down.

        Raises:
            ProblemError: There is no answer at all; says why.
            HistoryError: The time that is asked for lies outside of the lake's history.
        """
        if ask.tier == "live":
            return await self._live_page(ask, deadline)
        page_query(ask)  # a cursor that is none of ours is no fault of the engine

        async def make() -> Answer:
            return await self._gate.run(
                lambda engine, until: self._ask(ask, engine, until), deadline
            )

        seconds = PRESENT_SECONDS if ask.as_of is None else PAST_SECONDS
        try:
            found = await self._cache.get(ask, make, seconds=seconds, deadline=deadline)
        except EngineDownError as error:
            kept = self._cache.kept(ask)
            if kept is None:
                return await self._instead(ask, error, deadline)
            metrics.DEGRADED.labels("cache").inc()
            told = f"{error}; rows of tables are {kept.age_seconds:.0f} s old"
            found = replace(kept, meta=kept.meta.model_copy(update={"degraded": told}))
        return await self._with_live(ask, found, deadline)

    async def _with_live(self, ask: Ask, page: Answer, deadline: Deadline) -> Answer:
        """Return a page with what the live tier has seen beyond it."""
        if self._live is None or not may_take_live(ask):
            return page
        merge = partial(with_live, self._live, ask, page, self._partitions)
        return await self._looked_through(merge, deadline)

    async def _live_page(
        self, ask: Ask, deadline: Deadline, *, degraded: str | None = None
    ) -> Answer:
        answer = partial(live_answer, self._live, ask, degraded=degraded)
        return await self._looked_through(answer, deadline)

    async def _looked_through(self, answer: Callable[[], Answer], deadline: Deadline) -> Answer:
        """Return what looking through the live rows comes to, in a thread.

        Raises:
            DeadlineExceededError: It takes too long.
        """
        try:
            return await self._looks.run(answer, deadline.left())
        except TimeoutError as error:
            raise DeadlineExceededError from error

    async def _instead(self, ask: Ask, error: EngineDownError, deadline: Deadline) -> Answer:
        """Return what can be said without engine and cache.

        Raises:
            EngineDownError: Nothing can.
        """
        live = ask.relation.live
        if ask.tier == "merged" and ask.as_of is None and live and is_running(self._live, live):
            metrics.DEGRADED.labels("live").inc()
            told = f"{error}; these are the rows that the live tier holds, and no older ones"
            return await self._live_page(ask, deadline, degraded=told)
        raise error

    def _ask(self, ask: Ask, engine: Engine, deadline: Deadline) -> Answer:
        batch_only = ask.tier == "reconciled"

        def run(query: exp.Select, **over: Any) -> pa.Table:
            sql = query.sql(dialect=engine.dialect)
            return engine.query(sql, timeout_seconds=deadline.left(), **over)

        # Before the rows: what is committed in between makes them newer than is said.
        since = waited = None
        if ask.as_of is None:
            since = self._commits.seconds_since(ask.relation, batch_only=batch_only)
            waited = self._published.age_seconds(ask.relation, batch_only=batch_only)
        found = run(page_query(ask), as_of=ask.as_of, batch_only=batch_only)
        rows = found.slice(0, ask.limit)
        offsets = self._partitions.offsets(ask.relation, rows, run)
        more = found.num_rows > rows.num_rows
        last = rows.slice(rows.num_rows - 1).to_pylist()[0] if more else None
        # After the rows, so that whatever these lack because it is hidden is known to be.
        hidden = {}
        if self._live is not None and ask.relation.hides and may_take_live(ask):
            until = None if last is None else place_in(ask.relation, last)
            hidden = hidden_through(ask, run(tombstone_query(ask, until)))
        meta = Meta(
            tier=ask.tier,
            as_of=ask.as_of,
            freshness_seconds=None if waited is None else round(waited, 3),
            seconds_since_commit=None if since is None else round(since, 3),
            offsets=offsets,
            status=Counter(rows["status"].to_pylist()) if ask.relation.is_merged else {},
        )
        after = None if last is None else cursor_after(ask, last)
        return Answer(rows, after, meta, hidden=hidden)

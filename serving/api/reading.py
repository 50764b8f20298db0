"""Pages of rows: from the SQL engine, the cache or the live tier, whatever can answer."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
from anyio import fail_after, to_thread
from sqlglot import exp

from serving.api import metrics
from serving.api.answers import Answer, Meta
from serving.api.asking import Ask
from serving.api.cache import AnswerCache
from serving.api.commits import Commits
from serving.api.deadlines import Deadline, DeadlineExceededError
from serving.api.gate import EngineDownError, Gate
from serving.api.live import LiveRows, is_running, live_answer
from serving.api.merging import freshness, hidden_rows, merged, newer_rows, takes_live
from serving.api.paging import Place, cursor_after
from serving.api.partitions import Partitions
from serving.api.published import Published
from serving.api.query import page_query, tombstone_query
from serving.engines import Engine

# The speed layer commits every second: who asks more often sees nothing new.
PRESENT_SECONDS = 1.0
# The past changes no more, but for what upkeep expires of it.
PAST_SECONDS = 60.0
T = TypeVar("T")

_NOTHING_SAID = Meta(tier=None, as_of=None, freshness_seconds=None, offsets={}, status={})


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
        live = self._live
        if not takes_live(live, ask):
            return page
        age = freshness(live, ask)
        newer = await self._looked_through(partial(newer_rows, live, ask, page), deadline)
        hidden = await self._hidden(ask, deadline) if newer.lacking else {}
        added = {p: row for p, row in newer.lacking.items() if row.last_offset > hidden.get(p, -1)}
        found = await self._looked_through(
            partial(merged, ask, page, newer.of_page | added), deadline
        )
        return replace(found, meta=found.meta.model_copy(update={"freshness_seconds": age}))

    async def _hidden(self, ask: Ask, deadline: Deadline) -> Mapping[Place, int]:
        """Return the keys that the tables hide, as far as the engine can be asked."""

        def read(engine: Engine, until: Deadline) -> Answer:
            sql = tombstone_query(ask).sql(dialect=engine.dialect)
            return Answer(engine.query(sql, timeout_seconds=until.left()), None, _NOTHING_SAID)

        async def make() -> Answer:
            return await self._gate.run(read, deadline)

        try:
            key = ("hidden", ask)
            found = await self._cache.get(key, make, seconds=PRESENT_SECONDS, deadline=deadline)
        except EngineDownError:
            return {}
        return hidden_rows(ask, found.rows)

    async def _live_page(
        self, ask: Ask, deadline: Deadline, *, degraded: str | None = None
    ) -> Answer:
        answer = partial(live_answer, self._live, ask, degraded=degraded)
        return await self._looked_through(answer, deadline)

    @staticmethod
    async def _looked_through(answer: Callable[[], T], deadline: Deadline) -> T:
        """Return what looking through the live rows comes to, in a thread.

        Raises:
            DeadlineExceededError: It takes too long.
        """
        try:
            with fail_after(deadline.left()):
                return await to_thread.run_sync(answer, abandon_on_cancel=True)
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
        last = rows.slice(rows.num_rows - 1).to_pylist()[0] if more else {}
        meta = Meta(
            tier=ask.tier,
            as_of=ask.as_of,
            freshness_seconds=None if waited is None else round(waited, 3),
            seconds_since_commit=None if since is None else round(since, 3),
            offsets=offsets,
            status=Counter(rows["status"].to_pylist()) if ask.relation.is_merged else {},
        )
        return Answer(rows, cursor_after(ask, last) if more else None, meta)

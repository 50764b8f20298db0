"""How far bronze is behind the log, as `lakehouse metrics` exports it too."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

import structlog
from cachetools import TTLCache
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from pyiceberg.catalog import Catalog

from lakehouse.errors import first_line
from lakehouse.settings import Settings
from serving.api import problems
from serving.api.authentication import reaching
from serving.api.deadlines import DeadlineExceededError
from serving.api.problems import ProblemError, documented
from serving.api.seats import Seats
from serving.exporter import families
from serving.exporter.families import Reading
from serving.exporter.freshness import landed
from serving.exporter.lake import Log, Round

# A look asks the broker for the end of every topic; nobody needs to know it more often.
LOOK_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class Lag(BaseModel):
    """How far a table of bronze is behind its topic."""

    table: str = Field(examples=["bronze.market_trades"])
    topic: str = Field(examples=["market.trades"])
    events: int = Field(description="Events in the log that the table does not hold.")
    freshness_seconds: float = Field(description="Age of the oldest of them; 0 if there is none.")


class Lags(BaseModel):
    """Every table that a topic is landed in."""

    data: list[Lag]


class LogAndLake:
    """Compares the ends of log and lake, at most every ``LOOK_SECONDS``; for one thread at a time.

    Args:
        settings: Where the log is.
        open_catalog: Opens the catalog, at each look.
    """

    def __init__(self, settings: Settings, open_catalog: Callable[[], Catalog]) -> None:
        self._log = Log(settings)
        self._open_catalog = open_catalog
        # What a look found, or why it found nothing: to ask for what is away takes seconds.
        self._known: TTLCache[str, Future[list[Lag]]] = TTLCache(maxsize=1, ttl=LOOK_SECONDS)

    def lags(self) -> list[Lag]:
        """Return how far each table of bronze is behind.

        Raises:
            Exception: Whatever the broker or the catalog raises when it is away.
        """
        known = self._known.get("lags")
        if known is None:
            known = self._known["lags"] = self._look()
        return known.result()

    def _look(self) -> Future[list[Lag]]:
        found: Future[list[Lag]] = Future()
        try:
            found.set_result(list(_lags(landed(Round(self._open_catalog(), self._log)))))
        except Exception as error:
            self._log.forget()  # an embedded broker may be at another address by now
            _log.warning("log and lake cannot be compared", error=first_line(error))
            found.set_exception(error)
        return found


def routes(ends: LogAndLake) -> APIRouter:
    """Return the route that tells of it."""
    router, seat = APIRouter(tags=["operations"]), Seats(1, what="log and lake")

    @router.get(
        "/v1/lag",
        dependencies=[Depends(reaching("operations"))],
        responses=documented(
            problems.UNAUTHENTICATED,
            problems.FORBIDDEN,
            problems.INVALID_REQUEST,
            problems.RATE_LIMITED,
            problems.UNAVAILABLE,
            problems.DEADLINE_EXCEEDED,
        ),
    )
    async def lag(request: Request) -> Lags:
        """Tell how far each table of bronze is behind the log, in events and in time."""
        try:
            return Lags(data=await seat.run(ends.lags, request.state.deadline.left()))
        except TimeoutError as error:
            raise DeadlineExceededError from error
        except ProblemError:
            raise
        except Exception as error:  # whatever a broker or a catalog may raise
            told = "log or lake do not answer; the API's log tells why"
            raise ProblemError(problems.UNAVAILABLE, told, headers={"Retry-After": "5"}) from error

    return router


def _lags(readings: Iterable[Reading]) -> Iterator[Lag]:
    """Yield the lag of each table; the reading of its events comes before that of its freshness."""
    events: dict[str, tuple[str, int]] = {}
    for reading in readings:
        if reading.family is families.TABLE_LAG:
            table, topic = reading.labels
            events[table] = topic, int(reading.value)
        elif reading.family is families.FRESHNESS:
            (table,) = reading.labels
            topic, behind = events[table]
            age = time.time() - reading.value if reading.is_moment else reading.value
            yield Lag(table=table, topic=topic, events=behind, freshness_seconds=max(0.0, age))

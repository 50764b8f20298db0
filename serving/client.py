"""A client of the REST API: rows as Arrow, page by page, with retries that heed what it says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote

import pyarrow as pa
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    import pandas
    import polars

ARROW = "application/vnd.apache.arrow.stream"
PAGE_ROWS = 5_000
# What passes by itself: too many requests, too many queries, an engine that restarts.
_PASSING = (429, 502, 503)
# A server that says to come back later than this is as good as away.
LONGEST_WAIT_SECONDS = 60


class ApiError(LakehouseError):
    """The API answered with a problem.

    Attributes:
        status: The HTTP status.
        problem: The problem's members (RFC 9457).
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem


class Asked(TypedDict, total=False):
    """What most resources can be asked for.

    Instants are aware; ``start`` is the first one, ``end`` the first one after the range.
    """

    symbol: str | Sequence[str]
    venue: str | Sequence[str]
    start: datetime | date
    end: datetime | date
    as_of: datetime
    tier: Literal["merged", "reconciled", "live"]


@dataclass(frozen=True)
class Rows:
    """Rows, and what the API says of them.

    Attributes:
        table: The rows: decimals as decimal128, instants as microseconds in UTC.
        tier: ``merged``, ``reconciled`` or ``live``; None of a table without tiers.
        freshness_seconds: The oldest event that they do not show is at most this old; None of the
            past.
        offsets: By partition of the log, the highest position behind them.
        status: Rows by status.
        degraded: Why they are older than they should be; None if they are not.
        next: The cursor of what follows; None at the end.
    """

    table: pa.Table
    tier: str | None
    freshness_seconds: float | None
    offsets: Mapping[str, int]
    status: Mapping[str, int]
    degraded: str | None
    next: str | None

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as pandas has them; pandas must be installed."""
        return self.table.to_pandas()

    def to_polars(self) -> polars.DataFrame | polars.Series:
        """Return the rows as polars has them; polars must be installed."""
        import polars as pl  # noqa: PLC0415 - not everybody has it

        return pl.from_arrow(self.table)


class Client:
    """Asks a lakehouse's REST API.

    Requests that fail in a way that may pass are sent again: after what ``Retry-After`` says, or
    else after growing waits.

    Args:
        address: Such as ``http://127.0.0.1:8000``.
        key: An API key.
        deadline_seconds: How long an answer is waited for; the query is ended then.
        tries: How often a request is sent at most.

    Example:
        >>> with Client("http://127.0.0.1:8000", key) as api:  # doctest: +SKIP
        ...     api.bars(symbol="BTCUSDT", interval="1h").to_pandas()
    """

    def __init__(
        self, address: str, key: str, *, deadline_seconds: float = 30.0, tries: int = 5
    ) -> None:
        self._address = address.rstrip("/")
        self._deadline_seconds = deadline_seconds
        self._session = requests.Session()
        self._session.headers.update(
            {
                "Accept": ARROW,
                "Authorization": f"Bearer {key}",
                "X-Deadline-Ms": str(int(deadline_seconds * 1000)),
            }
        )
        retry = Retry(
            total=tries - 1,
            status_forcelist=_PASSING,
            allowed_methods=("GET",),
            backoff_factor=0.2,
            backoff_jitter=0.2,
            raise_on_status=False,
            retry_after_max=LONGEST_WAIT_SECONDS,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def bars(self, *, interval: Literal["1m", "1h"] = "1m", **asked: Unpack[Asked]) -> Rows:
        """Return bars of minutes or hours."""
        return self.read("bars", interval=interval, **asked)

    def trades(self, **asked: Unpack[Asked]) -> Rows:
        """Return trades that count."""
        return self.read("trades", **asked)

    def spreads(self, **asked: Unpack[Asked]) -> Rows:
        """Return the minutes' spreads."""
        return self.read("spreads", **asked)

    def positions(self, customer: str, **asked: Unpack[Asked]) -> Rows:
        """Return what a customer holds."""
        return self.read(f"positions/{quote(customer, safe='')}", **asked)

    def market_daily(self, **asked: Unpack[Asked]) -> Rows:
        """Return the market's days."""
        return self.read("market/daily", **asked)

    def instruments(self, **asked: Unpack[Asked]) -> Rows:
        """Return what is known of instruments."""
        return self.read("instruments", **asked)

    def read(self, resource: str, **asked: Any) -> Rows:
        """Return all rows of a resource that are asked for, of as many pages as there are.

        What the last page says of itself holds for all, but for counts and offsets, which are of
        all pages together.

        Args:
            resource: What follows ``/v1/``, such as ``market/daily``.
            asked: Parameters as the API describes them.

        Raises:
            ApiError: The API answers with a problem.
            requests.RequestException: The API does not answer.
        """
        pages = list(self.pages(resource, **asked))
        last = pages[-1]
        status: dict[str, int] = {}
        offsets: dict[str, int] = {}
        for page in pages:
            for name, count in page.status.items():
                status[name] = status.get(name, 0) + count
            for partition, position in page.offsets.items():
                offsets[partition] = max(position, offsets.get(partition, position))
        return Rows(
            table=pa.concat_tables([page.table for page in pages]),
            tier=last.tier,
            freshness_seconds=last.freshness_seconds,
            offsets=offsets,
            status=status,
            degraded=next((page.degraded for page in pages if page.degraded), None),
            next=None,
        )

    def pages(self, resource: str, **asked: Any) -> Iterator[Rows]:
        """Yield the rows that are asked for page by page; see ``read``."""
        parameters = {"limit": PAGE_ROWS, **{k: _spelled(v) for k, v in asked.items()}}
        while True:
            page = self._page(resource, parameters)
            yield page
            if page.next is None:
                return
            parameters["cursor"] = page.next

    def _page(self, resource: str, parameters: Mapping[str, Any]) -> Rows:
        answer = self._session.get(
            f"{self._address}/v1/{resource}",
            params=parameters,
            # A little longer than the API itself, whose word is better than none.
            timeout=self._deadline_seconds + 1.0,
        )
        if not answer.ok:
            raise ApiError(answer.status_code, _problem(answer))
        said = answer.headers
        freshness = said.get("X-Freshness-Seconds")
        return Rows(
            table=pa.ipc.open_stream(io.BytesIO(answer.content)).read_all(),
            tier=said.get("X-Tier"),
            freshness_seconds=None if freshness is None else float(freshness),
            offsets=json.loads(said.get("X-Offsets", "{}")),
            status=json.loads(said.get("X-Status", "{}")),
            degraded=said.get("X-Degraded"),
            next=said.get("X-Next"),
        )


def _problem(answer: requests.Response) -> Mapping[str, Any]:
    try:
        said = answer.json()
    except requests.JSONDecodeError:
        said = None
    return said if isinstance(said, dict) else {"title": answer.reason, "detail": answer.text}


def _spelled(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value

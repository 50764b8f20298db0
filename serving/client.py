"""A client of the REST API: rows as Arrow, page by page, with retries that heed what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, ResponseError
from urllib3.util import Retry

from serving.client_answers import ApiError, Rows, Scores, TooManyRowsError, checked

__all__ = ["ApiError", "Asked", "Client", "Rows", "Scores", "TooManyRowsError"]

ARROW = "application/vnd.apache.arrow.stream"
PAGE_ROWS = 5_000
# What passes by itself: too many requests, too many queries, an engine that restarts.
_PASSING = (429, 502, 503)
# A server that says to come back later than this is as good as away.
LONGEST_WAIT_SECONDS = 60
# Of one answer of several pages, which is held in memory as a whole: some hundred megabytes.
MOST_ROWS = 2_000_000


class _Patience(Retry):
    """Waits as long as it is told to, and not at all if that is too long to be waited for."""

    def increment(self, *args: Any, **asked: Any) -> Self:
        """Return what is left of the tries.

        Raises:
            MaxRetryError: The server says to come back later than anybody waits.
        """
        response = asked.get("response")
        wait = response and self.get_retry_after(response)
        if wait and wait > LONGEST_WAIT_SECONDS:
            raise MaxRetryError(asked["_pool"], args[1], ResponseError("told to wait"))
        return super().increment(*args, **asked)


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
        retry = _Patience(
            total=tries - 1,
            status_forcelist=_PASSING,
            allowed_methods=("GET", "POST"),  # what is posted here changes nothing
            backoff_factor=0.2,
            backoff_jitter=0.2,
            raise_on_status=False,
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

    def predictions(self, *, model: str | Sequence[str] = (), **asked: Unpack[Asked]) -> Rows:
        """Return what versions of models have said; a row has the model's name and version."""
        return self.read("predictions", model=model, **asked)

    def reconciliations(self, **asked: Any) -> Rows:
        """Return what comparisons of the two layers found, the latest first."""
        return self.read("reconciliations", **asked)

    def dead_letters(self, **asked: Any) -> Rows:
        """Return how many events were refused, by topic, stage and reason."""
        return self.read("dead-letters", **asked)

    def score(self, rows: Sequence[Mapping[str, Any]]) -> Scores:
        """Return what the champion says of rows of features, a hundred at most.

        Args:
            rows: With columns of ``gold.features_1m``; those that name a row are given back.

        Raises:
            ApiError: The API answers with a problem: no model is champion, a row is none.
            requests.RequestException: The API does not answer.
        """
        return self._score({"rows": [{k: _spelled(v) for k, v in row.items()} for row in rows]})

    def score_newest(self, venue: str, symbol: str) -> Scores:
        """Return what the champion says of an instrument's newest published minute; see `score`."""
        return self._score({"venue": venue, "symbol": symbol})

    def score_trades(self, venue: str, symbol: str, trades: Sequence[Mapping[str, Any]]) -> Scores:
        """Return how unlike the trades before it each trade is, of 350 at most; see `score`.

        Args:
            venue: Where they were made.
            symbol: Of the instrument.
            trades: Each with ``trade_id``, ``event_time``, ``reported_price``,
                ``reported_quantity``; those of the quarter of an hour before among them.
        """
        rows = [{name: _spelled(value) for name, value in trade.items()} for trade in trades]
        return self._score({"venue": venue, "symbol": symbol, "trades": rows})

    def _score(self, body: Mapping[str, Any]) -> Scores:
        answer = self._session.post(
            f"{self._address}/v1/predictions:score",
            json=body,
            headers={"Accept": "application/json"},
            timeout=self._deadline_seconds + 1.0,
        )
        return Scores(**checked(answer).json())

    def read(self, resource: str, *, most_rows: int = MOST_ROWS, **asked: Any) -> Rows:
        """Return all rows of a resource that are asked for, of as many pages as there are.

        Args:
            resource: What follows ``/v1/``, such as ``market/daily``.
            most_rows: How many rows there may be.
            asked: Parameters as the API describes them.

        Raises:
            ApiError: The API answers with a problem.
            TooManyRowsError: There are more rows.
            requests.RequestException: The API does not answer.
        """
        pages, count = [], 0
        for page in self.pages(resource, **asked):
            pages.append(page)
            count += page.table.num_rows
            if count > most_rows:
                raise TooManyRowsError(
                    f"{resource} has more than {most_rows} rows of what is asked for: ask for "
                    "less, or take them page by page, with `pages`"
                )
        return Rows.together(pages)

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
        return Rows.of(checked(answer))


def _spelled(value: object) -> object:
    match value:
        case date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case _:
            return value

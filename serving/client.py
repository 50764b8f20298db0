"""A client of the REST API: rows as Arrow, page by page, scores, and commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote
from uuid import uuid4

from serving.client_answers import (
    Accepted,
    ApiError,
    CommandStatus,
    Lag,
    Rows,
    Scores,
    TooManyRowsError,
)
from serving.client_session import ARROW, ClientSession

__all__ = [
    "Accepted",
    "ApiError",
    "Asked",
    "Client",
    "CommandStatus",
    "Lag",
    "Rows",
    "Scores",
    "TooManyRowsError",
    "Trade",
]

PAGE_ROWS = 5_000
# Of one answer of several pages, which is held in memory as a whole: some hundred megabytes.
MOST_ROWS = 2_000_000


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


class Trade(TypedDict):
    """Which trade: what its row says of it."""

    venue: str
    symbol: str
    trade_id: int
    event_time: datetime


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
        self._session = ClientSession(address, key, deadline_seconds=deadline_seconds, tries=tries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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

    def lag(self) -> Sequence[Lag]:
        """Return how far each table of bronze is behind its topic."""
        return [Lag(**one) for one in self._session.get("/v1/lag").json()["data"]]

    def correct_trade(
        self,
        *,
        price: Decimal,
        quantity: Decimal,
        contract_size: Decimal | None = None,
        idempotency_key: str | None = None,
        **trade: Unpack[Trade],
    ) -> Accepted:
        """Ask for a trade's price and quantity to be corrected; takes an operator's key.

        Args:
            price: The new one.
            quantity: The new one, in coins, or in contracts if they have a size.
            contract_size: Quote currency of a contract.
            idempotency_key: Stands for this request: whoever sends it again with the same key asks
                for nothing more. None for a new one, which is that of every try of this call.
            trade: Which one.

        Raises:
            ApiError: The API answers with a problem.
            requests.RequestException: The API does not answer.
        """
        unit = "BASE" if contract_size is None else "CONTRACT"
        new = {"price": price, "quantity": quantity, "contract_size": contract_size}
        body = {"kind": "correction", "quantity_unit": unit, **new, **trade}
        return self._command("trade-corrections", body, idempotency_key)

    def cancel_trade(
        self, *, idempotency_key: str | None = None, **trade: Unpack[Trade]
    ) -> Accepted:
        """Ask for a trade to be cancelled, for good; arguments and errors as `correct_trade`."""
        body = {"kind": "cancellation", **trade}
        return self._command("trade-corrections", body, idempotency_key)

    def erase(self, customer_id: str, *, idempotency_key: str | None = None) -> Accepted:
        """Ask for a customer's personal data to be erased, for good; as `correct_trade`."""
        return self._command("erasures", {"customer_id": customer_id}, idempotency_key)

    def command(self, command_id: str) -> CommandStatus:
        """Return how far a command has come; takes an operator's key."""
        answer = self._session.get(f"/v1/commands/{quote(command_id, safe='')}")
        return CommandStatus.of(answer.json())

    def _command(self, kind: str, body: Mapping[str, Any], idempotency_key: str | None) -> Accepted:
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return Accepted.of(self._session.post(f"/v1/commands/{kind}", body, headers).json())

    def score(self, rows: Sequence[Mapping[str, Any]]) -> Scores:
        """Return what the champion says of rows of features, a hundred at most.

        Args:
            rows: With columns of ``gold.features_1m``; those that name a row are given back.

        Raises:
            ApiError: The API answers with a problem: no model is champion, a row is none.
            requests.RequestException: The API does not answer.
        """
        return self._score({"rows": list(rows)})

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
        return self._score({"venue": venue, "symbol": symbol, "trades": list(trades)})

    def _score(self, body: Mapping[str, Any]) -> Scores:
        return Scores(**self._session.post("/v1/predictions:score", body).json())

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
        parameters = {"limit": PAGE_ROWS, **asked}
        while True:
            page = Rows.of(self._session.get(f"/v1/{resource}", parameters, accept=ARROW))
            yield page
            if page.next is None:
                return
            parameters["cursor"] = page.next

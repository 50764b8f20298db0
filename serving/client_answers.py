"""What the client is answered: rows, scores, commands, problems."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import requests

from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    import pandas
    import polars


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


class TooManyRowsError(LakehouseError):
    """More rows were asked for than are held in memory at once."""


@dataclass(frozen=True)
class Rows:
    """Rows, and what the API says of them.

    Attributes:
        table: The rows: decimals as decimal128, instants as microseconds in UTC.
        tier: ``merged``, ``reconciled`` or ``live``; None of a table without tiers.
        freshness_seconds: The oldest event that the rows do not show is at most this old; None
            where nobody can say, and of the past.
        seconds_since_commit: Time since the tables behind the rows were last written; None of the
            live tier and the past.
        offsets: By partition of the log, the highest position behind them.
        status: Rows by status.
        degraded: Why they are older than they should be; None if they are not.
        next: The cursor of what follows; None at the end.
    """

    table: pa.Table
    tier: str | None
    freshness_seconds: float | None
    seconds_since_commit: float | None
    offsets: Mapping[str, int]
    status: Mapping[str, int]
    degraded: str | None
    next: str | None

    @classmethod
    def of(cls, answer: requests.Response) -> Self:
        """Return the rows of an answer in Arrow's format."""
        said = answer.headers
        return cls(
            table=pa.ipc.open_stream(io.BytesIO(answer.content)).read_all(),
            tier=said.get("X-Tier"),
            freshness_seconds=_number(said.get("X-Freshness-Seconds")),
            seconds_since_commit=_number(said.get("X-Seconds-Since-Commit")),
            offsets=json.loads(said.get("X-Offsets", "{}")),
            status=json.loads(said.get("X-Status", "{}")),
            degraded=said.get("X-Degraded"),
            next=said.get("X-Next"),
        )

    @classmethod
    def together(cls, pages: Sequence[Self]) -> Self:
        """Return the rows of all pages.

        What the last page says of itself holds for all, but for counts and offsets, which are of
        all pages together.
        """
        status: dict[str, int] = {}
        offsets: dict[str, int] = {}
        for page in pages:
            for name, count in page.status.items():
                status[name] = status.get(name, 0) + count
            for partition, position in page.offsets.items():
                offsets[partition] = max(position, offsets.get(partition, position))
        return replace(
            pages[-1],
            table=pa.concat_tables([page.table for page in pages]),
            offsets=offsets,
            status=status,
            degraded=next((page.degraded for page in pages if page.degraded), None),
            next=None,
        )

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as pandas has them; pandas must be installed."""
        return self.table.to_pandas()

    def to_polars(self) -> polars.DataFrame | polars.Series:
        """Return the rows as polars has them; polars must be installed."""
        import polars as pl  # noqa: PLC0415 - not everybody has it

        return pl.from_arrow(self.table)


@dataclass(frozen=True)
class Scores:
    """What a model says of rows of features.

    Attributes:
        model: The registered model.
        version: Its version.
        data: For each row what names it, and ``value``.
        degraded: Why the features are older than they should be; None if they are not.
    """

    model: str
    version: int
    data: Sequence[Mapping[str, Any]]
    degraded: str | None


@dataclass(frozen=True)
class Lag:
    """How far a table of bronze is behind its topic.

    Attributes:
        table: Such as ``bronze.market_trades``.
        topic: Such as ``market.trades``.
        events: Events in the log that the table does not hold.
        freshness_seconds: Age of the oldest of them; 0 if there is none.
    """

    table: str
    topic: str
    events: int
    freshness_seconds: float


@dataclass(frozen=True)
class Accepted:
    """A command that was taken in.

    Attributes:
        id: By which it is asked after.
        kind: ``trade-correction`` or ``erasure``.
        accepted_at: When it was asked for the first time, UTC.
    """

    id: str
    kind: str
    accepted_at: datetime

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Return what the API's answer says."""
        at = datetime.fromisoformat(said["accepted_at"])
        return cls(id=said["id"], kind=said["kind"], accepted_at=at)


@dataclass(frozen=True)
class CommandStatus:
    """How far a command has come.

    Attributes:
        id: By which it was asked after.
        kind: ``trade-correction`` or ``erasure``.
        accepted_at: When it was asked for the first time, UTC.
        status: Such as ``sent``; the API's description has all of them.
        is_final: Whether it will change no more.
        detail: Why it was refused, or why no more is known; None if there is nothing to say.
        requested_by: Id of the API key.
        request: What was asked for.
        log: Topic, partition and offset of its message, and when it was sent; None before that.
        steps: Of a command that takes several, what became of each.
    """

    id: str
    kind: str
    accepted_at: datetime
    status: str
    is_final: bool
    detail: str | None
    requested_by: str
    request: Mapping[str, Any]
    log: Mapping[str, Any] | None
    steps: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Return what the API's answer says."""
        return cls(**{**said, "accepted_at": datetime.fromisoformat(said["accepted_at"])})


def checked(answer: requests.Response) -> requests.Response:
    """Return an answer that is none of a problem.

    Raises:
        ApiError: It is.
    """
    if not answer.ok:
        raise ApiError(answer.status_code, _problem(answer))
    return answer


def _problem(answer: requests.Response) -> Mapping[str, Any]:
    try:
        said = answer.json()
    except requests.JSONDecodeError:
        said = None
    return said if isinstance(said, dict) else {"title": answer.reason, "detail": answer.text}


def _number(said: str | None) -> float | None:
    return None if said is None else float(said)

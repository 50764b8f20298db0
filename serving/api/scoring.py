"""Scoring at once: what champions say of minutes, given or the newest there is, and of trades."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, create_model
from pyiceberg.types import DoubleType

import schemas
from serving.api import problems
from serving.api.asking import Ask
from serving.api.authentication import reaching
from serving.api.champions import Champions, Said
from serving.api.deadlines import DeadlineExceededError
from serving.api.endpoints import DeadlineMs
from serving.api.examples import TEXTS
from serving.api.problems import ProblemError, documented
from serving.api.reading import Reader
from serving.api.relations import Relation
from serving.api.seats import Seats
from serving.parameters import Instant, Name

FEATURES = Relation(
    "gold.features_1m",
    "gold.features_1m",
    order=("-window_start", "venue", "symbol"),
    time="window_start",
)
# They fit the largest body that is let in.
MOST_ROWS, MOST_TRADES = 100, 350
# Beyond what any market has shown, and so little that no sum of squares overflows.
_GREATEST = 1e6
_PROBLEMS = (
    problems.UNAUTHENTICATED,
    problems.FORBIDDEN,
    problems.NO_FEATURES,
    problems.TOO_SLOW,
    problems.TOO_LARGE,
    problems.INVALID_REQUEST,
    problems.RATE_LIMITED,
    problems.NO_MODELS,
    problems.NO_CHAMPION,
    problems.UNAVAILABLE,
    problems.DEADLINE_EXCEEDED,
)
_INSTRUMENT: dict[str, Any] = {name: TEXTS[name] for name in ("venue", "symbol")}

Amount = Annotated[
    Decimal, Field(gt=0, lt=10**10, max_digits=18, decimal_places=8, examples=["61699.20"])
]
Number = Annotated[
    float, Field(strict=True, allow_inf_nan=False, ge=-_GREATEST, le=_GREATEST, examples=[0.0004])
]


class Instrument(BaseModel):
    """Whose newest published minute is scored."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_INSTRUMENT]})

    venue: Name
    symbol: Name


class Trade(BaseModel):
    """A trade as it was reported, in the columns of `/v1/trades` that tell that."""

    model_config = ConfigDict(extra="forbid")

    trade_id: int = Field(ge=0, le=2**63 - 1, examples=[3733120462])
    event_time: Instant
    reported_price: Amount
    reported_quantity: Amount

    def reported(self) -> dict[str, Any]:
        """Return it as silver has it, whose times are in UTC."""
        return self.model_dump() | {"event_time": self.event_time.astimezone(UTC)}


class Trades(BaseModel):
    """An instrument's trades, in any order: those to score, and those of fifteen minutes before."""

    model_config = ConfigDict(extra="forbid")

    venue: Name = Field(examples=["binance_spot"])
    symbol: Name = Field(examples=["BTCUSDT"])
    trades: list[Trade] = Field(min_length=1, max_length=MOST_TRADES)


class Prediction(BaseModel):
    """What the model says of a row, and what the row was named by."""

    venue: str | None = None
    symbol: str | None = None
    window_start: datetime | None = None
    trade_id: int | None = None
    known_at: datetime | None = Field(
        default=None, description="When all that the prediction is made of was known."
    )
    value: float | None = Field(
        description="Of `next_minute_volatility`, the realised volatility of the minute after "
        "`known_at`. Of `anomalous_trades`, how unlike the trades before it a trade is: the more, "
        "the greater; null where too few came before.",
        examples=[0.00042],
    )


class Scores(BaseModel):
    """Predictions, in the order of the rows."""

    model: str = Field(examples=["next_minute_volatility"])
    version: int = Field(description="Of the model, in the registry.")
    data: list[Prediction]
    degraded: str | None = Field(
        default=None, description="Why the features are older than they should be."
    )


def routes(champions: Champions, reader: Reader) -> APIRouter:
    """Return the route that scores."""
    router, seat = APIRouter(tags=["market"]), Seats(1, what="model")
    given = _rows_model()

    @router.post(
        "/v1/predictions:score",
        responses=documented(*_PROBLEMS),
        dependencies=[Depends(reaching("market"))],
    )
    async def score(
        request: Request,
        body: given | Trades | Instrument,  # type: ignore[valid-type]
        deadline_ms: DeadlineMs = None,
    ) -> Scores:
        """Score rows of features or trades at once, or an instrument's newest published minute.

        The champion is asked, by the code that writes `/v1/predictions`: of minutes that of
        `next_minute_volatility`, of trades that of `anomalous_trades`. A row needs
        `ewma_volatility_15m` and `realised_volatility_1m`; all else may be null, as it is where
        nobody quotes. Of a trade something is said if at least thirty of the quarter of an hour
        before it are given, too; trades are answered in the order of their time. Nothing is stored.
        """
        del deadline_ms  # read before the request came here, and documented by this
        deadline, degraded = request.state.deadline, None
        score: Callable[[], Said]
        match body:
            case Instrument():
                newest = await reader.page(_newest(body), deadline)
                rows, degraded = newest.rows.to_pylist(), newest.meta.degraded
                if not rows:
                    told = f"there are no features of {body.symbol} of {body.venue}"
                    raise ProblemError(problems.NO_FEATURES, told)
                score = partial(champions.of_minutes, rows)
            case Trades():
                named = {"venue": body.venue, "symbol": body.symbol}
                trades = [named | trade.reported() for trade in body.trades]
                score = partial(champions.of_trades, trades)
            case _:
                score = partial(champions.of_minutes, [row.model_dump() for row in body.rows])
        try:
            said = await seat.run(score, deadline.left())
        except TimeoutError as error:
            raise DeadlineExceededError from error
        data = [Prediction(**row) for row in said.rows]
        return Scores(model=said.model, version=said.version, data=data, degraded=degraded)

    return router


def _rows_model() -> type[BaseModel]:
    """Return the model of a body with rows; what a row has is for the contract to say."""
    inputs = [
        column
        for column in schemas.contract(FEATURES.contract).columns
        if isinstance(column.type, DoubleType)
    ]
    named: dict[str, Any] = {
        **{
            name: (Name | None, Field(None, examples=[known]))
            for name, known in _INSTRUMENT.items()
        },
        "window_start": (Instant | None, None),
        "known_at": (Instant | None, None),
    }
    stated: dict[str, Any] = {
        column.name: (Number | None, Field(None, description=column.description))
        for column in inputs
    }
    row = create_model("features_row", __config__=ConfigDict(extra="forbid"), **named, **stated)
    example: dict[str, Any] = {**_INSTRUMENT, **{column.name: 0.0004 for column in inputs}}
    examples: Any = {"examples": [{"rows": [example]}]}
    rows: Any = (list[row], Field(min_length=1, max_length=MOST_ROWS))  # type: ignore[valid-type]
    return create_model(
        "features_rows",
        __config__=ConfigDict(extra="forbid", json_schema_extra=examples),
        rows=rows,
    )


def _newest(instrument: Instrument) -> Ask:
    named = (("venue", (instrument.venue,)), ("symbol", (instrument.symbol,)))
    return Ask(
        FEATURES, tier=None, as_of=None, named=named, start=None, end=None, after=None, limit=1
    )

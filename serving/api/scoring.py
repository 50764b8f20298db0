"""Scoring at once: the champion's predictions of rows of features, given or the newest there are.

Models are an extra. What they need is imported with the first question, so that the API is up soon,
and without them answers all other questions.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, create_model
from pyiceberg.types import DoubleType

import schemas
from lakehouse.errors import first_line
from lakehouse.settings import Settings
from serving.api import problems
from serving.api.asking import Ask
from serving.api.authentication import reaching
from serving.api.deadlines import DeadlineExceededError
from serving.api.endpoints import DeadlineMs
from serving.api.problems import ProblemError, documented
from serving.api.reading import Reader
from serving.api.relations import Relation
from serving.api.seats import Seats
from serving.parameters import Instant, Name

if TYPE_CHECKING:
    from serving.models.scoring import Scorer

FEATURES = Relation(
    "gold.features_1m",
    "gold.features_1m",
    order=("-window_start", "venue", "symbol"),
    time="window_start",
)
# They fit the largest body that is let in.
MOST_ROWS = 100
# A champion is promoted by the night, or by hand.
REFRESH_SECONDS = 60.0
# The registry is asked while somebody waits, and by MLflow's own settings for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
# Beyond what any market has shown, and so little that no sum of squares overflows.
_GREATEST = 1e6
_PROBLEMS = (
    problems.UNAUTHENTICATED,
    problems.FORBIDDEN,
    problems.NO_FEATURES,
    problems.TOO_LARGE,
    problems.INVALID_REQUEST,
    problems.RATE_LIMITED,
    problems.NO_MODELS,
    problems.NO_CHAMPION,
    problems.UNAVAILABLE,
    problems.DEADLINE_EXCEEDED,
)
_INSTRUMENT: dict[str, Any] = {"venue": "binance_spot", "symbol": "BTCUSDT"}

Number = Annotated[
    float, Field(strict=True, allow_inf_nan=False, ge=-_GREATEST, le=_GREATEST, examples=[0.0004])
]

_log = structlog.get_logger(__name__)


class Instrument(BaseModel):
    """Whose newest published minute is scored."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_INSTRUMENT]})

    venue: Name
    symbol: Name


class Prediction(BaseModel):
    """What the model says of a row, and what the row was named by."""

    venue: str | None = None
    symbol: str | None = None
    window_start: datetime | None = None
    known_at: datetime | None = Field(
        default=None, description="When all that the prediction is made of was known."
    )
    value: float = Field(
        description="Of `next_minute_volatility`, the realised volatility of the minute after "
        "`known_at`.",
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


class Scoring:
    """The champion, as far as this process has heard of it; for one thread at a time.

    Args:
        settings: Where the registry is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scorer: Scorer | None = None
        self._asked_at = -math.inf

    def score(self, rows: Sequence[Mapping[str, Any]]) -> Scores:
        """Return what the champion says of rows of features.

        Raises:
            ProblemError: There are no models here, none is champion, or the rows are no rows.
            Exception: Whatever MLflow raises when the registry is away.
        """
        try:
            from serving.models.features import InvalidRowsError  # noqa: PLC0415 - an extra
            from serving.models.tracking import UnknownModelError  # noqa: PLC0415 - likewise
        except ModuleNotFoundError as error:
            said = "the API is installed without the models extra"
            raise ProblemError(problems.NO_MODELS, said) from error
        try:
            found = self._champion().score(rows)
        except UnknownModelError as error:
            self._scorer = None
            raise ProblemError(problems.NO_CHAMPION, str(error)) from error
        except InvalidRowsError as error:
            raise ProblemError(problems.INVALID_REQUEST, str(error)) from error
        data = [Prediction(**row) for row in found]
        return Scores(model=found[0]["model"], version=found[0]["version"], data=data)

    def _champion(self) -> "Scorer":
        from serving.models.scoring import Scorer  # noqa: PLC0415 - an extra
        from serving.models.tracking import Tracking, UnknownModelError  # noqa: PLC0415 - likewise

        if self._scorer is None:
            for name, value in _PATIENCE.items():
                os.environ.setdefault(name, value)
            self._scorer = Scorer(Tracking(self._settings))
        elif time.monotonic() - self._asked_at >= REFRESH_SECONDS:
            try:
                self._scorer.refresh()
            except UnknownModelError:
                raise
            except Exception as error:  # whatever MLflow raises; what is loaded is good enough
                _log.warning("the champion cannot be asked for", error=first_line(error))
        else:
            return self._scorer
        self._asked_at = time.monotonic()
        return self._scorer


def routes(scoring: Scoring, reader: Reader) -> APIRouter:
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
        body: given | Instrument,  # type: ignore[valid-type]
        deadline_ms: DeadlineMs = None,
    ) -> Scores:
        """Score rows of features at once, or the newest published minute of an instrument.

        The champion is asked, by the code that writes `/v1/predictions`. A row needs
        `ewma_volatility_15m` and `realised_volatility_1m`; all else may be null, as it is where
        nobody quotes. Nothing is stored.
        """
        del deadline_ms  # read before the request came here, and documented by this
        deadline, degraded = request.state.deadline, None
        if isinstance(body, Instrument):
            newest = await reader.page(_newest(body), deadline)
            rows, degraded = newest.rows.to_pylist(), newest.meta.degraded
            if not rows:
                said = f"there are no features of {body.symbol} of {body.venue}"
                raise ProblemError(problems.NO_FEATURES, said)
        else:
            rows = [row.model_dump() for row in body.rows]
        try:
            scores = await seat.run(partial(scoring.score, rows), deadline.left())
        except TimeoutError as error:
            raise DeadlineExceededError from error
        except ProblemError:
            raise
        except Exception as error:  # whatever MLflow, or a store of its models, may raise
            _log.warning("rows cannot be scored", error=first_line(error))
            told = "the registry of models does not answer; the API's log tells why"
            raise ProblemError(problems.UNAVAILABLE, told, headers={"Retry-After": "5"}) from error
        return scores.model_copy(update={"degraded": degraded})

    return router


def _rows_model() -> type[BaseModel]:
    """Return the model of a body with rows; what a row has is for the contract to say."""
    inputs = [
        column
        for column in schemas.contract(FEATURES.contract).columns
        if isinstance(column.type, DoubleType)
    ]
    named: dict[str, Any] = {
        "venue": (Name | None, None),
        "symbol": (Name | None, None),
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

"""The champions of the models, loaded: what they say of rows.

Models are an extra. What they need is imported with the first question, so that the API is up soon,
and without them answers all other questions.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from lakehouse.errors import first_line
from lakehouse.settings import Settings
from serving.api import problems
from serving.api.problems import ProblemError
from serving.models.names import Model

if TYPE_CHECKING:
    from serving.models.scoring import Scorer

# A champion is promoted by the night, or by hand.
REFRESH_SECONDS = 60.0
# The registry is asked while somebody waits, and by MLflow's own settings for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}

Rows = Sequence[Mapping[str, Any]]

_log = structlog.get_logger(__name__)


class Said(NamedTuple):
    """What a version of a model says of rows, each with what names it and ``value``."""

    model: str
    version: int
    rows: Rows


class Champions:
    """The champion of each model, as far as this process has heard of it; for one thread at a time.

    Args:
        settings: Where the registry is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[Model, _Known] = {}

    def of_minutes(self, rows: Rows) -> Said:
        """Return what the champion says of rows of ``gold.features_1m``; raises as `of_trades`."""
        return self._said(Model.VOLATILITY, rows, of_source=False)

    def of_trades(self, trades: Rows) -> Said:
        """Return what the champion says of trades, of which features are made as batch makes them.

        Raises:
            ProblemError: There are no models here, none is champion, the registry is away, or the
                rows are no rows.
        """
        return self._said(Model.ANOMALIES, trades, of_source=True)

    def _said(self, model: Model, rows: Rows, *, of_source: bool) -> Said:
        try:
            from serving.models.features import InvalidRowsError  # noqa: PLC0415 - an extra
            from serving.models.tracking import UnknownModelError  # noqa: PLC0415 - likewise
        except ModuleNotFoundError as error:
            said = "the API is installed without the models extra"
            raise ProblemError(problems.NO_MODELS, said) from error
        try:
            scorer = self._champion(model)
            found = scorer.score_source(rows) if of_source else scorer.score(rows)
        except UnknownModelError as error:
            self._known.pop(model, None)
            raise ProblemError(problems.NO_CHAMPION, str(error)) from error
        except InvalidRowsError as error:
            raise ProblemError(problems.INVALID_REQUEST, str(error)) from error
        return Said(scorer.model, scorer.version, found)

    def _champion(self, model: Model) -> "Scorer":
        from serving.models.scoring import Scorer  # noqa: PLC0415 - an extra
        from serving.models.tracking import Tracking, UnknownModelError  # noqa: PLC0415 - likewise

        known, now = self._known.get(model), time.monotonic()
        if known is None:
            for name, value in _PATIENCE.items():
                os.environ.setdefault(name, value)
            try:
                known = _Known(Scorer(Tracking(self._settings), model), now)
            except UnknownModelError:
                raise
            except Exception as error:  # whatever MLflow, or a store of its models, may raise
                _log.warning("no champion can be loaded", model=model, error=first_line(error))
                told = "the registry of models does not answer; the API's log tells why"
                away = {"Retry-After": "5"}
                raise ProblemError(problems.UNAVAILABLE, told, headers=away) from error
        elif now - known.asked_at >= REFRESH_SECONDS:
            try:
                known.scorer.refresh()
            except UnknownModelError:
                raise
            except Exception as error:  # whatever MLflow raises; what is loaded is good enough
                _log.warning("the champion cannot be asked for", error=first_line(error))
            known = known._replace(asked_at=now)
        self._known[model] = known
        return known.scorer


class _Known(NamedTuple):
    """A champion, and when the registry was last asked for it, on the monotonic clock."""

    scorer: "Scorer"
    asked_at: float

"""The judge: asks the merged view and the independent oracle the same questions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from demo.oracle import (
    History,
    LoggedEvent,
    Verdict,
    WindowKey,
    compare,
    naive_bars,
    naive_days,
    naive_hours,
    naive_trades,
)
from demo.topic import Event, LogMismatchError, TradeName, logged, read_topic
from lakehouse.kafka import TRADES_TOPIC, client_settings
from lakehouse.settings import Settings
from serving.engines import Engine

Key = tuple[str, ...]

# A reader has no use for it, so the views leave it out.
HIDDEN = frozenset({"log_partition"})
MINUTE_KEY = ("venue", "symbol", "window_start")
# What the oracle makes of the whole log, by the view that must equal it, and that view's key.
QUESTIONS: dict[str, tuple[Callable[[Sequence[LoggedEvent]], Mapping[Any, Any]], Key]] = {
    "serving.trades": (naive_trades, ("venue", "symbol", "trade_id", "event_time")),
    "serving.bars_1m": (naive_bars, MINUTE_KEY),
    "serving.bars_1h": (naive_hours, MINUTE_KEY),
    "serving.market_daily": (naive_days, ("venue", "symbol", "business_date")),
}


class Judge:
    """Compares what the lake serves with what the recorded trades amount to.

    Args:
        settings: Where the log is.
        engine: Where the merged views are.
        recorded: Every trade that is replayed.
    """

    def __init__(
        self, settings: Settings, engine: Engine, recorded: Mapping[TradeName, Event]
    ) -> None:
        self._client = client_settings(settings)
        self._engine = engine
        self._recorded = recorded

    def as_of_now(self) -> Verdict:
        """Judge every minute bar as of the log position that it states, in the midst of things."""
        rows = self._rows("serving.bars_1m")
        # The log is read after the view: it holds whatever a row has seen.
        return judge_as_stated(self._log(), rows)

    def at_the_end(self) -> dict[str, Verdict]:
        """Judge every merged view over the whole log.

        Raises:
            LogMismatchError: The log does not hold exactly what was recorded.
        """
        log = self._log()
        if len(log) != len(self._recorded):
            raise LogMismatchError(
                f"{len(self._recorded)} trades were recorded, the log holds {len(log)} events"
            )
        return {
            view: compare(expect(log), self._rows(view), key=key, ignore=HIDDEN)
            for view, (expect, key) in QUESTIONS.items()
        }

    def _log(self) -> list[LoggedEvent]:
        return list(logged(read_topic(self._client, TRADES_TOPIC), self._recorded))

    def _rows(self, view: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._engine.query(f"SELECT * FROM {view}").to_pylist()
        return rows


def judge_as_stated(log: Sequence[LoggedEvent], rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Compare minute bars with the oracle's, each as of the ``last_offset`` that it states."""
    history = History(log)
    windows = {WindowKey(*(row[column] for column in MINUTE_KEY)): row for row in rows}
    expected = {
        window: history.bar(window, as_of=row["last_offset"]) for window, row in windows.items()
    }
    return compare(
        {window: bar for window, bar in expected.items() if bar is not None},
        rows,
        key=MINUTE_KEY,
        ignore=HIDDEN,
    )

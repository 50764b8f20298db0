"""Trades and the bars made of them: whole business hours, recomputed from all of their events."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from pyspark.sql import DataFrame

from batch.audit import totals_of_bars, totals_of_trades
from batch.dataset import Work, Written
from batch.inputs import days_of, on_days, within
from batch.pairs import Pair
from batch.steps import write_hours, write_keyed
from lakehouse.intervals import Interval, covering
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.transforms.bars import bars_1h, bars_1m, bars_1s, market_daily
from lakehouse.transforms.trades import observe, resolve, validate
from schemas import contract

TRADES = "silver.trades"
MINUTES, HOURS, DAYS = "gold.bars_1m", "gold.bars_1h", "gold.market_daily"


class Trades:
    """``silver.trades`` by the hour, and all bars of these hours and of their days."""

    name = "trades"
    topic = TRADES_TOPIC
    tables = (TRADES, MINUTES, HOURS, DAYS)
    pairs = (
        Pair(TRADES, key=("venue", "symbol", "trade_id"), time="event_time"),
        Pair(MINUTES, key=("venue", "symbol"), time="window_start"),
    )

    def validate(self, events: DataFrame) -> DataFrame:
        """Judge decoded trade events."""
        return validate(events)

    def write(self, work: Work) -> Written:
        """Write the trades of the touched hours, then the bars that they make."""
        carried = contract(TRADES).carried
        trades = write_hours(
            work,
            work.branches[TRADES],
            lambda events: resolve(observe(events, carried), carried),
            time="event_time",
        )
        return Written({**trades.rows, **_write_bars(work)}, trades.refused)


def _write_bars(work: Work) -> dict[str, int]:
    """Bring the bars of the touched hours, and the hours and days made of them, up to date."""
    hours = covering(
        hour for hour in work.as_of if work.keeps(TRADES, hour) and work.keeps(MINUTES, hour)
    )
    trades, carried = _trades(work, hours), contract(MINUTES).carried
    changed = {
        MINUTES: write_keyed(
            work,
            _minutes_of(trades),
            work.branches[MINUTES],
            where=within("window_start", hours),
            totals=totals_of_trades(trades, carried),
        )
    }
    days = [day.start for day in days_of(work.as_of)]
    for table, transform, starts, spans, of_table in (
        (HOURS, bars_1h, [*work.as_of], covering, partial(within, "window_start")),
        (DAYS, market_daily, days, days_of, on_days),
    ):
        known, bars = _minutes(work, [at for at in starts if work.keeps(table, at)], spans)
        carried = contract(table).carried
        changed[table] = write_keyed(
            work,
            transform(bars, carried),
            work.branches[table],
            where=of_table(spans(known)),
            totals=totals_of_bars(bars, carried),
        )
    return changed


def _minutes(
    work: Work, starts: Sequence[datetime], spans: Callable[[Sequence[datetime]], list[Interval]]
) -> tuple[list[datetime], DataFrame]:
    """Return all minute bars of some hours or days, and the starts of those that have all.

    Where minutes were retired they are made of the trades once more, which are kept for longer: a
    longer bar of those that are left would lack all others.

    Args:
        work: The run.
        starts: When the hours or days begin.
        spans: Tells from where to where they are.
    """
    stored = [at for at in starts if work.keeps(MINUTES, at)]
    retired = [at for at in starts if not work.keeps(MINUTES, at) and work.keeps(TRADES, at)]
    columns = contract(MINUTES).column_names
    bars = work.read(MINUTES).where(within("window_start", spans(stored))).select(*columns)
    if retired:
        bars = bars.union(_minutes_of(_trades(work, spans(retired))).select(*columns))
    return [*stored, *retired], bars


def _minutes_of(trades: DataFrame) -> DataFrame:
    carried = contract(MINUTES).carried
    return bars_1m(bars_1s(trades, carried=carried), carried)


def _trades(work: Work, spans: Sequence[Interval]) -> DataFrame:
    return work.read(TRADES).where(within("event_time", spans))

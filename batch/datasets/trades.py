"""Trades and the bars made of them: whole business hours, recomputed from all of their events."""

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import DataFrame

from batch.audit import totals_of_bars, totals_of_trades
from batch.dataset import Work, Written
from batch.inputs import days_of, on_days, within
from batch.pairs import Pair
from batch.steps import write_hours, write_keyed
from lakehouse.intervals import covering
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.transforms.bars import bars_1h, bars_1m, bars_1s, market_daily
from lakehouse.transforms.trades import observe, resolve, trade_key, validate
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
            key=trade_key(),
        )
        silver = work.branches[TRADES].read(work.spark)
        bars = _write_bars(work, [*work.as_of], silver)
        return Written({**trades.rows, **bars}, trades.refused)


def _write_bars(work: Work, hours: Sequence[datetime], trades: DataFrame) -> dict[str, int]:
    """Bring the bars of some hours, and the hours and days made of them, up to date."""
    in_hours, days = within("window_start", covering(hours)), days_of(hours)
    trades = trades.where(within("event_time", covering(hours)))
    minutely, carried = work.branches[MINUTES], contract(MINUTES).carried
    changed = {
        MINUTES: write_keyed(
            work,
            bars_1m(bars_1s(trades, carried=carried), carried),
            minutely,
            where=in_hours,
            totals=totals_of_trades(trades, carried),
        )
    }
    bars = minutely.read(work.spark)
    for table, transform, of_bars, of_table in (
        (HOURS, bars_1h, in_hours, in_hours),
        (DAYS, market_daily, within("window_start", days), on_days(days)),
    ):
        source, carried = bars.where(of_bars), contract(table).carried
        changed[table] = write_keyed(
            work,
            transform(source, carried),
            work.branches[table],
            where=of_table,
            totals=totals_of_bars(source, carried),
        )
    return changed

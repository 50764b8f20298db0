"""One minute of one instrument: its trades, and the bar that they make.

The definition is that of `lakehouse.transforms.trades.resolve` and `lakehouse.transforms.bars`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from lakehouse.kafka import TRADES_TOPIC
from serving.live.digits import half_up, instant, micros, minute_of, text, units
from serving.live.relations import RELATIONS, Values
from serving.live.rules import TRADE_RULES


class Report(NamedTuple):
    """What a trade's first report says; sizes in units of 10⁻⁸, time in microseconds."""

    position: int
    time: int
    price: int
    quantity: int
    contract_size: int | None
    """None where the quantity is in base units."""


class Correction(NamedTuple):
    """What a trade's last correction says; in units of 10⁻⁸."""

    position: int
    price: int
    quantity: int


class Counted(NamedTuple):
    """A trade that counts: its place, price, quantity (10⁻⁸) and notional (10⁻¹⁶)."""

    time: int
    trade_id: int
    price: int
    quantity: int
    notional: int


class Trade:
    """Everything that was said about one trade; in which order does not matter."""

    __slots__ = ("cancelled", "correction", "report")

    def __init__(self) -> None:
        self.report: Report | None = None
        self.correction: Correction | None = None
        self.cancelled = False

    def counted(self, trade_id: int) -> Counted | None:
        """Return the trade as its bar counts it; None if it counts nothing."""
        report = self.report
        if report is None or self.cancelled:
            return None
        said = self.correction or report
        price, size = said.price, said.quantity
        if report.contract_size is None:
            return Counted(report.time, trade_id, price, size, price * size)
        notional = size * report.contract_size
        return Counted(report.time, trade_id, price, half_up(notional, price), notional)


class Bar:
    """A minute's trades by id, and what those that count come to.

    Sums follow every change. So do the first, last, highest and lowest trade, until one of them
    counts no more: then they are looked for among all.
    """

    relation = RELATIONS["bars_1m"]
    topic, dataset, history = TRADES_TOPIC, "trades", "silver.trades"
    rules = TRADE_RULES
    recalled: ClassVar[tuple[str, ...]] = (
        *("venue", "symbol", "trade_id", "event_time"),
        *("reported_price", "reported_quantity", "quantity_unit", "contract_size"),
        *("corrected_price", "corrected_quantity"),
        *("trade_position", "correction_position", "cancel_position", "last_offset"),
    )
    most_groups = 10_000

    def __init__(self, group: str, start: int, partition: int) -> None:
        """Begin with nothing.

        Args:
            group: Venue and symbol: see `group_of`.
            start: Of the minute, in microseconds.
            partition: Of the log, that all of the events are in.
        """
        self._venue, self._symbol = group.split(":")
        self._start, self._partition = start, partition
        self._last_offset = -1
        self._trades: dict[int, Trade] = {}
        self._volume = self._notional = self._count = 0
        self._ends: tuple[Counted, Counted] | None = None
        self._range: tuple[int, int] | None = None

    @staticmethod
    def group_of(event: Mapping[str, Any]) -> str:
        """Return what is loaded and forgotten together: the instrument."""
        return f"{event['venue']}:{event['symbol']}"

    @staticmethod
    def minute_of(event: Mapping[str, Any]) -> int:
        """Return the minute that an event is of."""
        return minute_of(micros(event["event_time"]))

    def take(self, event: Mapping[str, Any], position: int) -> None:
        """Take in an accepted event of the minute."""
        kind = event["event_type"]
        report = correction = None
        if kind == "TRADE":
            report = _report(event, position, event["price"], event["quantity"])
        elif kind == "CORRECTION":
            correction = Correction(position, units(event["price"]), units(event["quantity"]))
        self._fold(event["trade_id"], position, report, correction, cancelled=kind == "CANCEL")

    def recall(self, row: Mapping[str, Any]) -> None:
        """Take in a row of ``silver.trades``, which is everything that was said up to it."""
        report = correction = None
        if (at := row["trade_position"]) is not None:
            report = _report(row, at, row["reported_price"], row["reported_quantity"])
        if (at := row["correction_position"]) is not None:
            price, quantity = row["corrected_price"], row["corrected_quantity"]
            correction = Correction(at, units(price), units(quantity))
        cancelled = row["cancel_position"] is not None
        self._fold(row["trade_id"], row["last_offset"], report, correction, cancelled=cancelled)

    def rows(self) -> Iterator[Values]:
        """Yield the bar, with the columns of ``gold.bars_1m``."""
        if self._ends is None and self._count:
            self._look_again()
        first, last = self._ends or (None, None)
        low, high = self._range or (None, None)
        average = half_up(self._notional, self._volume) if self._volume else None
        yield {
            "venue": self._venue,
            "symbol": self._symbol,
            "window_start": instant(self._start),
            "open": text(first and first.price, 8),
            "high": text(high, 8),
            "low": text(low, 8),
            "close": text(last and last.price, 8),
            "volume": text(self._volume, 8),
            "notional": text(self._notional, 16),
            "vwap": text(average, 8),
            "trade_count": self._count,
            "first_trade_at": instant(first and first.time),
            "last_trade_at": instant(last and last.time),
            "log_partition": self._partition,
            "last_offset": self._last_offset,
        }

    def _fold(
        self,
        trade_id: int,
        position: int,
        report: Report | None,
        correction: Correction | None,
        *,
        cancelled: bool,
    ) -> None:
        self._last_offset = max(self._last_offset, position)
        trade = self._trades.get(trade_id)
        if trade is None:
            trade = self._trades[trade_id] = Trade()
        before = trade.counted(trade_id)
        if report and (trade.report is None or report.position < trade.report.position):
            trade.report = report
        if correction and (
            trade.correction is None or correction.position > trade.correction.position
        ):
            trade.correction = correction
        trade.cancelled |= cancelled
        after = trade.counted(trade_id)
        if after != before:
            self._count_no_more(before)
            self._count_in(after)

    def _count_in(self, trade: Counted | None) -> None:
        if trade is None:
            return
        self._count += 1
        self._volume += trade.quantity
        self._notional += trade.notional
        if self._count == 1:
            self._ends, self._range = (trade, trade), (trade.price, trade.price)
        elif self._ends is not None and self._range is not None:
            # Ids are unique within a minute, so places never tie and values are not compared.
            self._ends = min(self._ends[0], trade), max(self._ends[1], trade)
            self._range = min(self._range[0], trade.price), max(self._range[1], trade.price)

    def _count_no_more(self, trade: Counted | None) -> None:
        if trade is None:
            return
        self._count -= 1
        self._volume -= trade.quantity
        self._notional -= trade.notional
        if self._ends and (trade in self._ends or trade.price in (self._range or ())):
            self._ends = self._range = None

    def _look_again(self) -> None:
        counted = [trade.counted(trade_id) for trade_id, trade in self._trades.items()]
        found = [trade for trade in counted if trade is not None]
        prices = [trade.price for trade in found]
        self._ends, self._range = (min(found), max(found)), (min(prices), max(prices))


def _report(said: Mapping[str, Any], position: int, price: Any, quantity: Any) -> Report:
    is_base = said["quantity_unit"] == "BASE"
    size = None if is_base else units(said["contract_size"])
    return Report(position, micros(said["event_time"]), units(price), units(quantity), size)

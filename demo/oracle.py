"""The independent oracle: one naive pass over every accepted event, in plain Python.

It shares no code with the platform's transforms, so that the two can disagree. It reads the rules
from the design: a trade is `(venue, symbol, trade_id)` within the UTC minute of its event time; its
TRADE with the lowest log position counts, its CORRECTION with the highest position replaces price
and quantity, and any CANCEL, before or after, cancels it for good. A correction or a cancel of a
trade that was never seen counts nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any, NamedTuple

from demo.acceptance import accepted, rejections
from demo.recorded import SampleUnreadableError, events_from_sample
from demo.verdict import Difference, Verdict, compare

__all__ = [
    "Bar",
    "DailyBar",
    "Difference",
    "History",
    "LoggedEvent",
    "SampleUnreadableError",
    "Trade",
    "Verdict",
    "accepted",
    "compare",
    "events_from_sample",
    "in_order",
    "naive_bars",
    "naive_days",
    "naive_hours",
    "naive_trades",
    "rejections",
]

Event = Mapping[str, Any]

# Wider than any product or sum of the platform's 38-digit columns: nothing is ever rounded unseen.
EXACT = Context(prec=120)
EIGHT_PLACES = Decimal("0.00000001")


class LoggedEvent(NamedTuple):
    """An accepted event and where it stands in the log (`position` is an encoded LogPosition)."""

    partition: int
    position: int
    event: Event


class WindowKey(NamedTuple):
    """The key of a bar of any length; `window_start` is the UTC start of the bar."""

    venue: str
    symbol: str
    window_start: datetime


class TradeKey(NamedTuple):
    """The identity of a trade; `minute` is the UTC minute of its event time."""

    venue: str
    symbol: str
    trade_id: int
    minute: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Trade:
    """One trade as of the events seen; columns and units as in `silver.trades`.

    `price`, `quantity` and `notional` are None for a state that counts nothing (CANCELLED,
    UNMATCHED).
    """

    venue: str
    symbol: str
    trade_id: int
    event_time: datetime
    state: str
    price: Decimal | None
    quantity: Decimal | None
    notional: Decimal | None
    aggressor_side: str | None
    reported_price: Decimal | None
    reported_quantity: Decimal | None
    corrected_price: Decimal | None
    corrected_quantity: Decimal | None
    trade_position: int | None
    correction_position: int | None
    cancel_position: int | None
    log_partition: int
    last_offset: int

    @property
    def counts(self) -> bool:
        """Whether the trade is part of its bar."""
        return self.state in ("ACTIVE", "CORRECTED")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measures:
    venue: str
    symbol: str
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    volume: Decimal
    notional: Decimal
    vwap: Decimal | None
    trade_count: int
    first_trade_at: datetime | None
    last_trade_at: datetime | None
    log_partition: int
    last_offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar(_Measures):
    """One bar; columns and units as in `gold.bars_1m` and `gold.bars_1h`."""

    window_start: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class DailyBar(_Measures):
    """One UTC day of one symbol; columns and units as in `gold.market_daily`."""

    business_date: date


def in_order(events: Iterable[Event], *, partition: int = 0, start: int = 0) -> list[LoggedEvent]:
    """Give events the positions `start`, `start + 1`, … of one partition, in their order."""
    return [LoggedEvent(partition, start + n, event) for n, event in enumerate(events)]


class History:
    """Accepted events in log order, grouped once by minute window, to ask about one key cheaply.

    The order in which the events are given does not matter; their positions do.
    """

    def __init__(self, events: Iterable[LoggedEvent]) -> None:
        self._windows: dict[WindowKey, list[LoggedEvent]] = defaultdict(list)
        for logged in sorted(events, key=lambda logged: logged.position):
            event = logged.event
            key = WindowKey(event["venue"], event["symbol"], _minute(event["event_time"]))
            self._windows[key].append(logged)

    @property
    def windows(self) -> list[WindowKey]:
        """The minute windows that any event is about."""
        return sorted(self._windows)

    def trades(self, window: WindowKey, *, as_of: int | None = None) -> list[Trade]:
        """Return every trade of a window, those that count nothing too, as of a log position."""
        by_id: dict[int, list[LoggedEvent]] = defaultdict(list)
        for logged in self._windows.get(window, ()):
            if as_of is None or logged.position <= as_of:
                by_id[logged.event["trade_id"]].append(logged)
        return [_trade(events) for _, events in sorted(by_id.items())]

    def bar(self, window: WindowKey, *, as_of: int | None = None) -> Bar | None:
        """Return a window's bar as of a log position: None before its first event.

        A window whose trades are all cancelled or unmatched gives a tombstone (`trade_count` 0).
        """
        trades = self.trades(window, as_of=as_of)
        if not trades:
            return None
        return Bar(window_start=window.window_start, **_measures(trades))

    def visible(self, *, include_tombstones: bool = False) -> list[tuple[WindowKey, list[Trade]]]:
        """Return the windows that a reader sees, with their trades."""
        windows = [(window, self.trades(window)) for window in self.windows]
        return [
            (window, trades)
            for window, trades in windows
            if include_tombstones or any(trade.counts for trade in trades)
        ]


def naive_trades(
    events: Iterable[LoggedEvent], *, include_tombstones: bool = False
) -> dict[TradeKey, Trade]:
    """Return the trades that count; with `include_tombstones` the others as well."""
    history = History(events)
    return {
        TradeKey(trade.venue, trade.symbol, trade.trade_id, window.window_start): trade
        for window in history.windows
        for trade in history.trades(window)
        if include_tombstones or trade.counts
    }


def naive_bars(
    events: Iterable[LoggedEvent], *, include_tombstones: bool = False
) -> dict[WindowKey, Bar]:
    """Return the one-minute bars; `last_offset` is the highest position of any of their events."""
    return {
        window: Bar(window_start=window.window_start, **_measures(trades))
        for window, trades in History(events).visible(include_tombstones=include_tombstones)
    }


def naive_hours(
    events: Iterable[LoggedEvent], *, include_tombstones: bool = False
) -> dict[WindowKey, Bar]:
    """Return the hourly bars over the minutes that `include_tombstones` lets be seen."""
    hours: dict[WindowKey, list[Trade]] = defaultdict(list)
    for window, trades in History(events).visible(include_tombstones=include_tombstones):
        hours[window._replace(window_start=window.window_start.replace(minute=0))] += trades
    return {
        hour: Bar(window_start=hour.window_start, **_measures(trades))
        for hour, trades in hours.items()
    }


def naive_days(
    events: Iterable[LoggedEvent], *, include_tombstones: bool = False
) -> dict[tuple[str, str, date], DailyBar]:
    """Return the daily bars (UTC days) over the minutes that `include_tombstones` lets be seen."""
    days: dict[tuple[str, str, date], list[Trade]] = defaultdict(list)
    for window, trades in History(events).visible(include_tombstones=include_tombstones):
        days[window.venue, window.symbol, window.window_start.date()] += trades
    return {
        day: DailyBar(business_date=day[2], **_measures(trades)) for day, trades in days.items()
    }


def _minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _trade(events: list[LoggedEvent]) -> Trade:
    """Reduce one trade's events, in log order, to what they say together."""
    original = correction = cancel = None
    for logged in events:
        match logged.event["event_type"]:
            case "TRADE":
                original = original or logged
            case "CORRECTION":
                correction = logged
            case "CANCEL":
                cancel = logged
    state = _state(original, correction, cancel)
    price = quantity = notional = None
    if original is not None and state in ("ACTIVE", "CORRECTED"):
        price, quantity, notional = _effective(original.event, (correction or original).event)
    reported = original.event if original else {}
    corrected = correction.event if correction else {}
    named_by = (original or events[0]).event
    return Trade(
        venue=named_by["venue"],
        symbol=named_by["symbol"],
        trade_id=named_by["trade_id"],
        event_time=named_by["event_time"],
        state=state,
        price=price,
        quantity=quantity,
        notional=notional,
        aggressor_side=reported.get("aggressor_side"),
        reported_price=reported.get("price"),
        reported_quantity=reported.get("quantity"),
        corrected_price=corrected.get("price"),
        corrected_quantity=corrected.get("quantity"),
        trade_position=original.position if original else None,
        correction_position=correction.position if correction else None,
        cancel_position=cancel.position if cancel else None,
        log_partition=events[-1].partition,
        last_offset=events[-1].position,
    )


def _state(
    original: LoggedEvent | None, correction: LoggedEvent | None, cancel: LoggedEvent | None
) -> str:
    if cancel is not None:
        return "CANCELLED"
    if original is None:
        return "UNMATCHED"
    return "ACTIVE" if correction is None else "CORRECTED"


def _effective(original: Event, latest: Event) -> tuple[Decimal, Decimal, Decimal]:
    """Return price, quantity in base units and notional in quote currency.

    A correction replaces the price and the count; what the count counts (coins, or contracts of
    what size) stays what the trade said.
    """
    price, reported = latest["price"], latest["quantity"]
    with localcontext(EXACT):
        if original["quantity_unit"] == "BASE":
            return price, reported, price * reported
        notional = reported * original["contract_size"]
        return price, _eight_places(notional / price), notional


def _measures(trades: list[Trade]) -> dict[str, Any]:
    newest = max(trades, key=lambda trade: trade.last_offset)
    counted = sorted(
        (trade for trade in trades if trade.counts),
        key=lambda trade: (trade.event_time, trade.trade_id),
    )
    prices = [trade.price for trade in counted if trade.price is not None]
    with localcontext(EXACT):
        volume = sum((trade.quantity or Decimal(0) for trade in counted), Decimal(0))
        notional = sum((trade.notional or Decimal(0) for trade in counted), Decimal(0))
        vwap = _eight_places(notional / volume) if volume else None
    return {
        "venue": newest.venue,
        "symbol": newest.symbol,
        "open": prices[0] if prices else None,
        "high": max(prices, default=None),
        "low": min(prices, default=None),
        "close": prices[-1] if prices else None,
        "volume": volume,
        "notional": notional,
        "vwap": vwap,
        "trade_count": len(counted),
        "first_trade_at": counted[0].event_time if counted else None,
        "last_trade_at": counted[-1].event_time if counted else None,
        "log_partition": newest.log_partition,
        "last_offset": newest.last_offset,
    }


def _eight_places(value: Decimal) -> Decimal:
    return value.quantize(EIGHT_PLACES, rounding=ROUND_HALF_UP)

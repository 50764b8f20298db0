"""Random logs of each stream for the live tier: few keys, so that much happens to each."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import fill_log
import quote_log
import trade_log
from hypothesis import strategies as st
from trade_log import NOON

from demo.oracle import LoggedEvent, naive_bars, naive_trades, rejections
from demo.positions_oracle import fill_rejections, naive_fills, naive_positions
from demo.quotes import naive_quotes, naive_spreads, quote_rejections
from serving.live.bars import Bar
from serving.live.positions import Client
from serving.live.spreads import Spread
from serving.live.stream import Stream

Event = dict[str, Any]
Row = dict[str, Any]

# Two instruments of three minutes, and seconds that tie.
_SYMBOLS = st.sampled_from(["BTCUSDT", "ETHUSDT"])
_TIMES = st.integers(0, 35).map(lambda number: NOON + timedelta(seconds=5 * number))
_SIZES = st.sampled_from(["0.00000001", "0.1", "1", "2", "3.33333333", "7"]).map(Decimal)
_PRICES = st.sampled_from(["0.00000003", "99.5", "100", "101", "123.45678901"]).map(Decimal)


@st.composite
def trades(draw: st.DrawFn) -> Event:
    """Reports, corrections and cancels of few trades, some of them in contracts; some refused."""
    kind = draw(st.sampled_from(["TRADE"] * 4 + ["CORRECTION", "CANCEL"]))
    names = kind == "CANCEL"
    contract = None if names else draw(st.sampled_from([None, None, Decimal(10), Decimal("0.1")]))
    return trade_log.DEFAULTS | {
        "event_type": kind,
        "symbol": draw(_SYMBOLS),
        "trade_id": draw(st.sampled_from([1, 1, 2, 3, 4, 5, 6, -1])),
        "event_time": draw(_TIMES),
        "price": None if names else draw(_PRICES),
        "quantity": None if names else draw(_SIZES),
        "quantity_unit": "BASE" if contract is None else "CONTRACT",
        "contract_size": contract,
    }


@st.composite
def quotes(draw: st.DrawFn) -> Event:
    """Few order book updates, some of them crossed, which are refused."""
    bid = draw(_PRICES)
    ask = draw(_PRICES)
    return quote_log.quote(
        draw(st.integers(0, 8)),
        symbol=draw(_SYMBOLS),
        event_time=draw(_TIMES),
        bid_price=bid,
        ask_price=ask,
    )


@st.composite
def fills(draw: st.DrawFn) -> Event:
    """Reports and busts of few fills of two clients; some refused."""
    number = draw(st.sampled_from([-1, *range(9)]))
    make = fill_log.bust if draw(st.integers(0, 4)) == 0 else fill_log.fill
    named = {
        "customer_id": draw(st.sampled_from(["C-1", "C-2"])),
        "symbol": draw(_SYMBOLS),
        "event_time": draw(_TIMES),
    }
    if make is fill_log.fill:
        named |= {
            "side": draw(st.sampled_from(["BUY", "SELL"])),
            "quantity": draw(_SIZES),
            "price": draw(_PRICES),
            "fee": draw(st.sampled_from([Decimal("0.1"), Decimal("-0.00000001")])),
        }
    return make(number, **named)


class Case(NamedTuple):
    """A stream of the live tier, how its events are made, and what the oracles make of them."""

    stream: Stream
    events: st.SearchStrategy[Event]
    rejections: Callable[..., tuple[str, ...]]
    expected: Callable[[list[LoggedEvent]], Mapping[Any, Any]]
    silver: Callable[[list[LoggedEvent]], Mapping[Any, Any]]


CASES = {
    "bars_1m": Case(
        Bar,
        trades(),
        rejections,
        lambda log: naive_bars(log, include_tombstones=True),
        lambda log: naive_trades(log, include_tombstones=True),
    ),
    "spreads_1m": Case(Spread, quotes(), quote_rejections, naive_spreads, naive_quotes),
    "positions": Case(
        Client,
        fills(),
        fill_rejections,
        lambda log: naive_positions(log, include_tombstones=True),
        lambda log: naive_fills(log, include_tombstones=True),
    ),
}


def accepted(case: Case, events: list[Event]) -> list[LoggedEvent]:
    """Give events their offsets in one partition, and leave out those that count nothing."""
    log = [LoggedEvent(0, offset, event) for offset, event in enumerate(events)]
    return [logged for logged in log if not case.rejections(logged.event, NOON)]


def plain(row: Any) -> Row:
    """Return an oracle's row as a mapping."""
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(row)


def silver_rows(case: Case, log: list[LoggedEvent]) -> list[Row]:
    """Return what batch would have in silver after a log, by the oracle."""
    units = {
        logged.position: {
            name: logged.event.get(name) for name in ("quantity_unit", "contract_size")
        }
        for logged in log
    }
    rows = [plain(row) for row in case.silver(log).values()]
    return [units.get(row.get("trade_position"), {}) | row for row in rows]

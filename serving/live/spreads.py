"""One minute of one instrument: its quotes, and how wide the market was.

The definition is that of `lakehouse.transforms.quotes`.
"""

from bisect import bisect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from lakehouse.kafka import QUOTES_TOPIC
from serving.live.digits import MINUTE_US, half_up, instant, micros, minute_of, text, units
from serving.live.relations import RELATIONS, Values
from serving.live.rules import QUOTE_RULES


class Quote(NamedTuple):
    """The first report of an order book update: microseconds, and units of 10⁻⁸."""

    time: int
    update_id: int
    bid: int
    ask: int

    @property
    def mid(self) -> int:
        """The middle in units of 10⁻⁹, which half of a sum always is."""
        return (self.bid + self.ask) * 5

    @property
    def spread(self) -> int:
        """Offer less bid, in units of 10⁻⁸."""
        return self.ask - self.bid


class Spread:
    """A minute's quotes in their order, and for how long each stood.

    Sums follow a quote that takes its place among the others; only one that replaces what was
    taken for the first report has them all added up again.
    """

    relation = RELATIONS["spreads_1m"]
    topic, dataset, history = QUOTES_TOPIC, "quotes", "silver.quotes"
    rules = QUOTE_RULES
    recalled: ClassVar[tuple[str, ...]] = (
        *("venue", "symbol", "update_id", "event_time"),
        *("bid_price", "ask_price", "quote_position", "last_offset"),
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
        self._first_reports: dict[int, tuple[int, Quote]] = {}
        self._in_order: list[Quote] = []
        # Spread times the microseconds that it stood, of all quotes but the last.
        self._weighted = 0
        self._mids = self._spreads = (0, 0)

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
        self._fold(event, position, position)

    def recall(self, row: Mapping[str, Any]) -> None:
        """Take in a row of ``silver.quotes``."""
        self._fold(row, row["quote_position"], row["last_offset"])

    def rows(self) -> Iterator[Values]:
        """Yield the minute, with the columns of ``gold.spreads_1m``."""
        quotes = self._in_order
        if not quotes:
            return
        first, last = quotes[0], quotes[-1]
        end = self._start + MINUTE_US
        weighted = self._weighted + last.spread * (end - last.time)
        yield {
            "venue": self._venue,
            "symbol": self._symbol,
            "window_start": instant(self._start),
            "open_mid": text(first.mid, 9),
            "high_mid": text(self._mids[1], 9),
            "low_mid": text(self._mids[0], 9),
            "close_mid": text(last.mid, 9),
            "spread": text(half_up(weighted, end - first.time), 8),
            "min_spread": text(self._spreads[0], 8),
            "max_spread": text(self._spreads[1], 8),
            "quoted_microseconds": end - first.time,
            "quote_count": len(quotes),
            "first_quote_at": instant(first.time),
            "last_quote_at": instant(last.time),
            "log_partition": self._partition,
            "last_offset": self._last_offset,
        }

    def _fold(self, said: Mapping[str, Any], position: int, last_offset: int) -> None:
        self._last_offset = max(self._last_offset, last_offset)
        update_id = said["update_id"]
        known = self._first_reports.get(update_id)
        if known is not None and known[0] <= position:
            return
        bid, ask = units(said["bid_price"]), units(said["ask_price"])
        quote = Quote(micros(said["event_time"]), update_id, bid, ask)
        self._first_reports[update_id] = position, quote
        if known is None:
            self._place(quote)
        else:
            self._place_all_again()

    def _place(self, quote: Quote) -> None:
        """Let a quote stand between its neighbours."""
        quotes = self._in_order
        place = bisect(quotes, quote)
        if not quotes:
            self._mids, self._spreads = (quote.mid,) * 2, (quote.spread,) * 2
        if place < len(quotes):
            self._weighted += quote.spread * (quotes[place].time - quote.time)
        if place:
            before = quotes[place - 1]
            until = quotes[place].time if place < len(quotes) else before.time
            self._weighted += before.spread * (quote.time - until)
        quotes.insert(place, quote)
        self._mids = min(self._mids[0], quote.mid), max(self._mids[1], quote.mid)
        self._spreads = min(self._spreads[0], quote.spread), max(self._spreads[1], quote.spread)

    def _place_all_again(self) -> None:
        self._in_order, self._weighted = [], 0
        for _, quote in self._first_reports.values():
            self._place(quote)

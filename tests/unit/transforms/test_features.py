"""Features, on hand-made and random markets: what they are, and that none of them knows more.

Each variant of a market is a venue of its own, so that one job computes all of them.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from trade_log import NOON

from lakehouse.transforms import quotes, trades
from lakehouse.transforms.features import DECAY, features_1m
from schemas import contract

pytestmark = pytest.mark.serving

Row = dict[str, Any]

OBSERVED_TRADES = (
    "venue string, symbol string, trade_id long, event_time timestamp, aggressor_side string,"
    " reported_price decimal(18,8), reported_quantity decimal(18,8), quantity_unit string,"
    " contract_size decimal(18,8), corrected_price decimal(18,8), corrected_quantity decimal(18,8),"
    " trade_position long, correction_position long, cancel_position long, log_partition int,"
    " last_offset long"
)
OBSERVED_QUOTES = (
    "venue string, symbol string, update_id long, event_time timestamp, time_source string,"
    " bid_price decimal(18,8), bid_quantity decimal(18,8), ask_price decimal(18,8),"
    " ask_quantity decimal(18,8), quantity_unit string, quote_position long, log_partition int,"
    " last_offset long"
)
FLOATS = [one.name for one in contract("gold.features_1m").columns if str(one.type) == "double"]
MINUTES = 24
# Between rows, on the boundary of one, and before all but the first.
CUTS = [NOON + timedelta(seconds=seconds) for seconds in (61, 300, 613.5, 1200)]


@dataclass(frozen=True)
class Trade:
    second: float
    price: Decimal
    quantity: Decimal
    side: str | None

    @property
    def at(self) -> datetime:
        return NOON + timedelta(seconds=self.second)


@dataclass(frozen=True)
class Quote:
    second: float
    bid: Decimal
    ask: Decimal

    @property
    def at(self) -> datetime:
        return NOON + timedelta(seconds=self.second)


@dataclass(frozen=True)
class Market:
    """What happened at a venue; ``mended`` are the numbers of trades, with their new prices."""

    trades: Sequence[Trade]
    quotes: Sequence[Quote] = ()
    mended: dict[int, Decimal] = field(default_factory=dict)
    cancelled: Sequence[int] = ()


def random_market(seed: int) -> Market:
    """Some minutes of a market that is silent now and then."""
    chance = random.Random(seed)
    seconds = sorted(
        chance.uniform(minute * 60, minute * 60 + 60)
        for minute in range(MINUTES)
        if minute not in (7, 8, 9, 15)
        for _ in range(1 if minute in (0, 10) else chance.randint(1, 6))
    )
    price = 100.0
    made = []
    for second in seconds:
        price *= math.exp(chance.gauss(0, 0.001))
        size, side = chance.randint(1, 500), chance.choice(["BUY", "SELL", None])
        made.append(Trade(second, cents(price), Decimal(size) / 100, side))
    shown = [
        Quote(at := chance.uniform(0, MINUTES * 60), cents(99 - at % 3), cents(100 + at % 5))
        for _ in range(30)
    ]
    return Market(made, shown)


def cents(price: float) -> Decimal:
    return Decimal(round(price * 100)) / 100


def without_future(market: Market, cut: datetime) -> Market:
    return Market(
        [one for one in market.trades if one.at < cut],
        [one for one in market.quotes if one.at < cut],
    )


def with_another_future(market: Market, cut: datetime) -> Market:
    """The future is another one, and has something to say about the past."""
    known = without_future(market, cut)
    later = [one for one in market.trades if one.at >= cut]
    past = range(len(known.trades))
    return Market(
        [*known.trades, *(replace(one, price=one.price * 3, side="BUY") for one in later)],
        [*known.quotes, *(replace(one, ask=one.ask * 2) for one in market.quotes if one.at >= cut)],
        mended={number: Decimal(7) for number in past[::3]},
        cancelled=past[1::3],
    )


def computed(spark: SparkSession, markets: Iterable[Market]) -> dict[tuple[str, datetime], Row]:
    """Return the features of markets, each at a venue that is called by its number."""
    at_venues = [(str(number), market) for number, market in enumerate(markets)]
    told = [row for venue, market in at_venues for row in trade_rows(venue, market)]
    shown = [row for venue, market in at_venues for row in quote_rows(venue, market)]
    rows = features_1m(
        trades.resolve(spark.createDataFrame(told, OBSERVED_TRADES)),
        quotes.spreads_1m(quotes.resolve(spark.createDataFrame(shown, OBSERVED_QUOTES))),
    )
    return {(row["venue"], row["window_start"]): row for row in collected(rows)}


def collected(rows: DataFrame) -> list[Row]:
    found: list[Row] = rows.toArrow().to_pylist()  # by way of Arrow, times keep their zone
    return found


def trade_rows(venue: str, market: Market) -> Iterator[tuple[Any, ...]]:
    for number, one in enumerate(market.trades):
        key = (venue, "BTCUSDT", number, one.at)
        reported = (one.side, one.price, one.quantity, "BASE", None)
        yield (*key, *reported, None, None, number, None, None, 0, number)
        later = (*key, *[None] * 5)
        if number in market.mended:
            yield (*later, market.mended[number], Decimal(1), None, 9_000, None, 0, 9_000)
        if number in market.cancelled:
            yield (*later, None, None, None, None, 9_001, 0, 9_001)


def quote_rows(venue: str, market: Market) -> Iterator[tuple[Any, ...]]:
    one = Decimal(1)
    for number, shown in enumerate(market.quotes):
        prices = (shown.bid, one, shown.ask, one, "BASE")
        yield (venue, "BTCUSDT", number, shown.at, "EXCHANGE", *prices, number, 0, number)


def naive(market: Market) -> dict[datetime, Row]:
    """Tell each minute's features in one naive pass over the trades up to its end."""
    told = {}
    for minute in sorted({int(one.second // 60) for one in market.trades}):
        end = NOON + timedelta(minutes=minute + 1)
        of_minute = [summed(market, minute - back) for back in range(15)]
        last_five, (now, *_) = of_minute[:5], of_minute
        weighed = [(DECAY**age, one["variance"]) for age, one in enumerate(of_minute)]
        weighed = [(weight, value) for weight, value in weighed if value is not None]
        told[end - timedelta(minutes=1)] = {
            "known_at": end,
            "return_1m": now["return"],
            "return_5m": added(one["return"] for one in last_five),
            "realised_volatility_1m": root(now["variance"]),
            "realised_volatility_5m": root(mean([one["variance"] for one in last_five])),
            "ewma_volatility_15m": root(
                sum(weight * value for weight, value in weighed) / sum(w for w, _ in weighed)
                if weighed
                else None
            ),
            "order_flow_imbalance_1m": ratio(now["net"], now["sided"]),
            "order_flow_imbalance_5m": ratio(
                added(one["net"] for one in last_five), added(one["sided"] for one in last_five)
            ),
            "trade_intensity_1m": now["count"] / 60,
            "trade_intensity_5m": sum(one["count"] for one in last_five) / 300,
            "trade_count": now["count"],
        }
    return told


def summed(market: Market, minute: int) -> Row:
    """Add up one minute, from the last price of each second."""
    of_minute = [one for one in market.trades if one.second // 60 == minute]
    last = {int(one.second): float(one.price) for one in sorted(market.trades, key=by_time)}
    returns = []
    for second, price in last.items():
        before = max((other for other in last if other < second), default=None)
        if second // 60 == minute and before is not None and second - before <= 60:
            returns.append(math.log(price / last[before]))
    sided = [one for one in of_minute if one.side]
    signed = [one.quantity if one.side == "BUY" else -one.quantity for one in sided]
    return {
        "return": added(returns),
        "variance": added(one * one for one in returns),
        "net": added(signed),
        "sided": added(one.quantity for one in sided),
        "count": len(of_minute),
    }


def by_time(one: Trade) -> float:
    return one.second


def added(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def root(value: float | None) -> float | None:
    return None if value is None else math.sqrt(value)


def ratio(part: Decimal | None, whole: Decimal | None) -> float | None:
    return None if part is None or whole is None else float(part) / float(whole)


def test_a_row_is_what_one_naive_pass_tells(spark: SparkSession) -> None:
    market = random_market(1)
    rows, told = computed(spark, [market]), naive(market)
    assert {start for _, start in rows} == set(told)
    for (_, start), row in rows.items():
        assert row["known_at"] == told[start].pop("known_at")
        for name, value in told[start].items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), (start, name)
    # What a silent market does not tell, and what it does.
    assert any(row["return_1m"] is None for row in rows.values())
    assert any(row["spread_bps"] is None for row in rows.values())


def test_spreads_are_relative_and_of_the_minute(spark: SparkSession) -> None:
    shown = [Quote(0, Decimal(99), Decimal(101)), Quote(90, Decimal(90), Decimal(110))]
    traded = [Trade(second, Decimal(100), Decimal(1), "BUY") for second in (1, 61, 121)]
    rows = computed(spark, [Market(traded, shown)])
    told = [(row["spread_bps"], row["quote_intensity_1m"]) for _, row in sorted(rows.items())]
    assert told == [(200.0, 1 / 60), (2000.0, 1 / 60), (None, 0.0)]


def test_no_row_knows_of_what_happens_after_its_own_time(spark: SparkSession) -> None:
    market = random_market(2)
    futures = [make(market, cut) for cut in CUTS for make in (without_future, with_another_future)]
    rows = computed(spark, [market, *futures])
    by_venue: dict[str, dict[datetime, Row]] = {}
    for (venue, start), row in rows.items():
        by_venue.setdefault(venue, {})[start] = {**row, "venue": None}
    base = by_venue.pop("0")
    changed = set[str]()
    for venue, variant in by_venue.items():
        cut = CUTS[(int(venue) - 1) // 2]
        known = {start: row for start, row in base.items() if row["known_at"] <= cut}
        assert known
        assert {start: row for start, row in variant.items() if row["known_at"] <= cut} == known
        # A future that changes nothing would prove nothing: each feature has one that it heeds.
        changed.update(
            name
            for start, row in variant.items()
            if start in base and start >= cut
            for name in FLOATS
            if row[name] != base[start][name]
        )
    assert changed >= {name for name in FLOATS if "intensity" not in name}


def test_a_row_is_the_same_in_whatever_order_trades_are_read(spark: SparkSession) -> None:
    market = random_market(3)
    rows = trade_rows("0", market)
    shuffled = random.Random(4).sample(told := list(rows), len(told))
    spreads = quotes.spreads_1m(
        quotes.resolve(spark.createDataFrame(list(quote_rows("0", market)), OBSERVED_QUOTES))
    )
    first, second = (
        features_1m(trades.resolve(spark.createDataFrame(one, OBSERVED_TRADES)), spreads)
        for one in (told, shuffled)
    )
    assert sorted(map(str, collected(first))) == sorted(map(str, collected(second)))

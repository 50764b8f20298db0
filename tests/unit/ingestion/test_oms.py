"""Simulated executions on the shipped recording."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from demo.oracle import in_order
from demo.positions_oracle import fill_rejections, naive_positions
from ingestion.faults import LoadProfileError, RawMessage
from ingestion.oms.cli import app
from ingestion.oms.desk import FillEvent, customer_key
from ingestion.oms.market import MarketTrade, NoMarketError, recorded_market
from ingestion.oms.simulator import FAULTS, OmsProfile, simulated_fills
from ingestion.replay import adapters_for
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec, UndecodableError

SAMPLE = Path(__file__).parents[3] / "demo" / "data" / "binance_coinm_ethusd_perp.trades.gz"
NOW = datetime(2024, 8, 9, 1, tzinfo=UTC)
FAULTY = {"late": 0.1, "duplicate": 0.1, "out_of_order": 0.1, "busts": 0.1, "bad": 0.1}


@pytest.fixture(scope="module")
def market() -> list[MarketTrade]:
    return recorded_market(adapters_for([SAMPLE], None))


@pytest.fixture(scope="module")
def codec() -> EventCodec:
    return EventCodec(ContractRegistry(), 1_000_000, topics()["oms.fills"])


def messages(
    market: list[MarketTrade], fills: int = 2_000, **profile: Any
) -> list[FillEvent | RawMessage]:
    return list(simulated_fills(market, OmsProfile(fills=fills, **profile)))


def events(market: list[MarketTrade], **profile: Any) -> list[FillEvent]:
    return [message for message in messages(market, **profile) if isinstance(message, dict)]


def identity(event: FillEvent) -> tuple[str, int]:
    return event["customer_id"], event["fill_id"]


def test_same_profile_same_messages(market: list[MarketTrade]) -> None:
    assert messages(market, **FAULTY) == messages(market, **FAULTY)


def test_another_seed_repeats_no_fill_of_the_same_clients(market: list[MarketTrade]) -> None:
    first, second = ({identity(event) for event in events(market, seed=s)} for s in (1, 2))
    assert not first & second
    assert {customer for customer, _ in first} == {customer for customer, _ in second}


def test_a_plain_run_is_that_many_different_fills_in_order(market: list[MarketTrade]) -> None:
    made = events(market, customers=5)
    assert len(made) == len({identity(event) for event in made}) == 2_000
    assert Counter(event["event_type"] for event in made) == {"FILL": 2_000}
    by_customer = Counter(event["customer_id"] for event in made)
    assert len(by_customer) == 5
    assert by_customer["C-00001"] > 3 * by_customer["C-00005"]
    for customer in by_customer:
        numbers = [event["fill_id"] for event in made if event["customer_id"] == customer]
        assert numbers == list(range(1, len(numbers) + 1))


def test_fills_are_near_a_trade_in_price_and_time(market: list[MarketTrade]) -> None:
    times: dict[int, list[Decimal]] = defaultdict(list)
    for trade in market:
        times[trade.event_time // 100_000].append(trade.price)
    for event in events(market):
        assert event["price"] is not None
        tenth = event["event_time"] // 100_000
        around = [price for at in (tenth - 1, tenth) for price in times[at]]
        assert min(abs(event["price"] / price - 1) for price in around) <= Decimal("0.0005")
        if event["side"] == "BUY":
            assert event["price"] >= min(around)
        else:
            assert event["price"] <= max(around)


def test_positions_open_grow_shrink_close_and_flip(market: list[MarketTrade]) -> None:
    held: dict[str, Decimal] = defaultdict(Decimal)
    seen: Counter[str] = Counter()
    for event in events(market, customers=3):
        assert event["quantity"] is not None
        before = held[event["customer_id"]]
        after = before + event["quantity"] * (1 if event["side"] == "BUY" else -1)
        held[event["customer_id"]] = after
        if not before:
            seen["open long" if after > 0 else "open short"] += 1
        elif not after:
            seen["close"] += 1
        elif (before > 0) != (after > 0):
            seen["flip"] += 1
        else:
            seen["grow" if abs(after) > abs(before) else "shrink"] += 1
    assert min(seen[what] for what in ("open long", "open short", "close", "flip")) > 50
    assert min(seen["grow"], seen["shrink"]) > 300


def test_busts_name_a_fill_and_come_before_and_after_it(market: list[MarketTrade]) -> None:
    made = events(market, busts=0.2, out_of_order=0.2)
    fills = {identity(event): event for event in made if event["event_type"] == "FILL"}
    busts = [(at, event) for at, event in enumerate(made) if event["event_type"] == "BUST"]
    assert len(busts) / 2_000 == pytest.approx(0.2, abs=0.03)
    places = {identity(e): at for at, e in enumerate(made) if e["event_type"] == "FILL"}
    before = 0
    for at, event in busts:
        fill = fills[identity(event)]
        assert (event["event_time"], event["order_id"]) == (fill["event_time"], fill["order_id"])
        assert event["quantity"] is event["price"] is event["side"] is event["fee"] is None
        before += places[identity(event)] > at
    assert 0 < before < len(busts)


def test_duplicates_and_late_fills(market: list[MarketTrade]) -> None:
    made = events(market, duplicate=0.2)
    assert 2_000 - len({identity(event) for event in made}) == pytest.approx(400, abs=60)
    late = [event["event_time"] for event in events(market, late=0.2)]
    minute = 60_000_000
    assert sum(max(late[: n + 1]) - time > minute for n, time in enumerate(late)) > 200


def test_bad_messages_are_refused_for_a_reason_and_no_others(
    market: list[MarketTrade], codec: EventCodec
) -> None:
    made = messages(market, bad=0.5)
    raw = [message for message in made if isinstance(message, RawMessage)]
    assert len(raw) / 2_000 == pytest.approx(0.25, abs=0.04)
    for message in raw:
        with pytest.raises(UndecodableError):
            codec.decode(message.payload)
    decoded = [codec.decode(codec.encode(event)) for event in made if isinstance(event, dict)]
    refused = [event for event in decoded if fill_rejections(event, NOW)]
    assert len(refused) / 2_000 == pytest.approx(0.25, abs=0.04)
    for fault in FAULTS:
        assert any(fault.items() <= event.items() for event in made if isinstance(event, dict))


def test_what_comes_of_it_are_positions(market: list[MarketTrade], codec: EventCodec) -> None:
    profile = {name: share for name, share in FAULTY.items() if name != "bad"}
    made = [codec.decode(codec.encode(event)) for event in events(market, **profile)]
    positions = naive_positions(in_order(made)).values()
    assert len(positions) == 20
    assert any(position.quantity < 0 < position.realised_pnl for position in positions)
    assert customer_key(events(market)[0]).startswith(b"C-")


def test_recordings_without_trades_and_bad_lines(tmp_path: Path) -> None:
    recording = tmp_path / "binance_spot_x.txt"
    recording.write_text("nothing\n1 {}\n")
    with pytest.raises(NoMarketError, match=r"binance_spot_x\.txt"):
        recorded_market(adapters_for([recording], None))


@pytest.mark.parametrize(
    ("profile", "named"),
    [
        ({"customers": 0}, "customers"),
        ({"fills": 0}, "fills"),
        ({"busts": 1.5}, "busts"),
        ({"late": 0.6, "bad": 0.6}, "shares"),
    ],
)
def test_a_profile_that_cannot_be_played_is_refused(profile: dict[str, Any], named: str) -> None:
    with pytest.raises(LoadProfileError, match=named):
        OmsProfile(**profile)


def test_the_verb_names_its_options() -> None:
    result = CliRunner().invoke(app, ["simulate", "--help"], terminal_width=200)
    assert result.exit_code == 0
    for option in ("--customers", "--seed", "--fills", "--busts"):
        assert option in result.output

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from recording_sinks import RecordingSink

from ingestion.adapters import TradeEvent
from ingestion.faults import LoadProfileError, RawMessage
from ingestion.load import send_load
from ingestion.synth import FAULTS, LoadProfile, synthetic_events
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec, UndecodableError

START = datetime(2024, 8, 8, 12, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
MINUTE_US = 60_000_000
FAULTY = {
    "late": 0.1,
    "duplicate": 0.1,
    "out_of_order": 0.1,
    "corrections": 0.1,
    "cancels": 0.1,
    "bad": 0.1,
}


def messages(count: int, **profile: Any) -> list[TradeEvent | RawMessage]:
    return list(islice(synthetic_events(LoadProfile(start=START, **profile)), count))


def events(count: int, **profile: Any) -> list[TradeEvent]:
    return [message for message in messages(count, **profile) if isinstance(message, dict)]


def identity(event: TradeEvent) -> tuple[str, str, int]:
    return event["venue"], event["symbol"], event["trade_id"]


def test_same_profile_same_messages() -> None:
    assert messages(5_000, **FAULTY) == messages(5_000, **FAULTY)
    assert messages(100, seed=1) != messages(100, seed=2)


def test_plain_load_is_in_order_and_on_pace() -> None:
    made = events(1_000, events_per_second=100)
    times = [event["event_time"] for event in made]
    assert times == [START_US + number * 10_000 for number in range(1_000)]
    assert {event["event_type"] for event in made} == {"TRADE"}
    assert len({identity(event) for event in made}) == 1_000


def test_symbols_are_skewed() -> None:
    by_symbol = Counter(identity(event)[:2] for event in events(20_000, symbols=10))
    assert len(by_symbol) == 10
    ranked = [count for _, count in by_symbol.most_common()]
    # The first of ten has 1 / (1 + 1/2 + … + 1/10) of all, and ten times what the tenth has.
    assert ranked[0] / 20_000 == pytest.approx(0.341, abs=0.02)
    assert ranked[0] / ranked[-1] == pytest.approx(10, rel=0.25)


@pytest.mark.parametrize(("skew", "others"), [(0.8, 0.2 / 9), (0.1, 0.1), (1.0, 0.0)])
def test_the_first_symbol_has_its_share_and_the_others_equal_parts(
    skew: float, others: float
) -> None:
    made = events(20_000, symbols=10, skew=skew, out_of_order=0.1)
    by_symbol = Counter(identity(event)[:2] for event in made)
    first = by_symbol.pop(("synth_spot", "SYN0000USD"))
    assert first / 20_000 == pytest.approx(skew, abs=0.015)
    assert len(by_symbol) == (9 if others else 0)
    for count in by_symbol.values():
        assert count / 20_000 == pytest.approx(others, abs=0.015)


def test_one_symbol_has_all_trades_whatever_its_share() -> None:
    made = events(100, symbols=1, skew=0.8)
    assert [event["trade_id"] for event in made] == [*range(1, 101)]


def test_same_ids_occur_on_two_venues() -> None:
    made = events(5_000, symbols=4)
    by_venue = {
        venue: {identity(event)[1:] for event in made if event["venue"] == venue}
        for venue in ("synth_spot", "synth_coinm")
    }
    assert by_venue["synth_spot"] & by_venue["synth_coinm"]
    for event in made:
        contracts = event["venue"] == "synth_coinm"
        assert (event["quantity_unit"] == "CONTRACT") is contracts
        assert (event["contract_size"] is not None) is contracts


def test_late_trades_are_up_to_ninety_minutes_late() -> None:
    made = events(5_000, late=0.2, events_per_second=1_000_000)
    lateness = [START_US - event["event_time"] for event in made]
    late = [age for age in lateness if age > MINUTE_US]
    assert len(late) / 5_000 == pytest.approx(0.2, abs=0.02)
    assert 80 * MINUTE_US < max(late) <= 90 * MINUTE_US


def test_duplicates_repeat_a_trade_exactly() -> None:
    made = events(5_000, duplicate=0.2)
    first: dict[tuple[str, str, int], TradeEvent] = {}
    repeated = 0
    for event in made:
        repeated += identity(event) in first
        assert first.setdefault(identity(event), event) == event
    assert repeated / 5_000 == pytest.approx(0.2, abs=0.02)


def test_overtaken_trades_come_later_but_come() -> None:
    made = events(5_000, out_of_order=0.1, symbols=1)
    ids = [event["trade_id"] for event in made]
    overtaken = sum(later < earlier for earlier, later in pairwise(ids))
    assert overtaken / 5_000 == pytest.approx(0.1, abs=0.03)
    assert set(range(1, 4_500)) <= set(ids)


def test_corrections_and_cancels_name_a_trade_and_its_time() -> None:
    made = events(10_000, corrections=0.1, cancels=0.1, out_of_order=0.2)
    trades = {identity(event): event for event in made if event["event_type"] == "TRADE"}
    kinds = Counter(event["event_type"] for event in made)
    assert kinds["CORRECTION"] / 10_000 == pytest.approx(0.1, abs=0.02)
    assert kinds["CANCEL"] / 10_000 == pytest.approx(0.1, abs=0.02)
    unseen = 0
    seen: set[tuple[str, str, int]] = set()
    for event in made:
        if event["event_type"] == "TRADE":
            seen.add(identity(event))
            continue
        unseen += identity(event) not in seen
        trade = trades.get(identity(event))
        if trade is not None:
            assert event["event_time"] == trade["event_time"]
        if event["event_type"] == "CANCEL":
            assert (event["price"], event["quantity"]) == (None, None)
        else:
            assert event["price"] is not None
            assert event["price"] > 0
            assert event["quantity"] is not None
            assert event["quantity"] > 0
    assert unseen > 0


def test_bad_messages_are_faulty_events_or_bytes_that_nobody_decodes() -> None:
    codec = EventCodec(ContractRegistry(), 1_000_000)
    made = messages(4_000, bad=0.5)
    raw = [message for message in made if isinstance(message, RawMessage)]
    assert len(raw) / 4_000 == pytest.approx(0.25, abs=0.03)
    for message in raw:
        with pytest.raises(UndecodableError):
            codec.decode(message.payload)
    decodable = [message for message in made if isinstance(message, dict)]
    for event in decodable:
        codec.decode(codec.encode(event))
    for fault in FAULTS:
        assert any(fault.items() <= event.items() for event in decodable)


@pytest.mark.parametrize(
    ("profile", "named"),
    [
        ({"symbols": 0}, "symbols"),
        ({"skew": 0.0}, "skew"),
        ({"skew": 1.1}, "skew"),
        ({"skew": float("nan")}, "skew"),
        ({"events_per_second": 0}, "events_per_second"),
        ({"events_per_second": float("nan")}, "events_per_second"),
        ({"late": -0.1}, "late"),
        ({"bad": 1.1}, "bad"),
        ({"late": 0.6, "bad": 0.6}, "shares"),
        ({"start": datetime(2024, 8, 8)}, "start"),  # noqa: DTZ001 - that is the point
    ],
)
def test_impossible_profile_is_refused_with_the_field(profile: dict[str, Any], named: str) -> None:
    with pytest.raises(LoadProfileError, match=named):
        LoadProfile(**{"start": START, **profile})


def test_load_keeps_its_rate() -> None:
    sink = RecordingSink()
    plain = synthetic_events(LoadProfile(start=START))
    counts = send_load(plain, sink, rate=1_000, limit=500, clock=sink.clock)
    assert counts.events == len(sink.events) == 500
    assert sink.now == pytest.approx(0.5, abs=0.02)
    assert sink.sent_at[249] == pytest.approx(0.25, abs=0.02)


def test_load_that_fell_behind_catches_up() -> None:
    sink = RecordingSink()
    plain = synthetic_events(LoadProfile(start=START))

    def stall_once() -> None:
        if len(sink.events) == 100:
            sink.now += 1

    sink.on_send = stall_once
    counts = send_load(plain, sink, rate=1_000, seconds=2, clock=sink.clock)
    assert counts.messages == pytest.approx(2_000, abs=20)


def test_load_without_a_rate_waits_for_nothing() -> None:
    sink = RecordingSink()
    counts = send_load(
        synthetic_events(LoadProfile(start=START, bad=0.5)), sink, limit=5_001, clock=sink.clock
    )
    assert (counts.events, counts.undecodable) == (len(sink.events), len(sink.raw))
    assert counts.messages == 5_001
    assert sink.now == 0


def test_load_ends_with_its_messages() -> None:
    counts = send_load(messages(10), sink := RecordingSink(), limit=50)
    assert counts.events == len(sink.events) == 10


def test_default_pace_of_event_time_is_one_that_a_laptop_can_send() -> None:
    first, *_, last = events(5_001)
    assert last["event_time"] - first["event_time"] == timedelta(seconds=1) // timedelta(
        microseconds=1
    )

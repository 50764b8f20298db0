"""The recordings that chaos is run on: readable, of every kind, with faults."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from chaos.recording import write_recordings

from ingestion.adapters import FrameRejectedError, is_trade
from ingestion.oms.market import recorded_market
from ingestion.replay import adapters_for, merged

START = datetime(2024, 8, 8, 12, tzinfo=UTC)


def test_frames_are_read_as_trades_quotes_and_faults(tmp_path: Path) -> None:
    recordings = adapters_for(
        write_recordings(tmp_path / "market", start=START, seconds=100, rate=20, seed=1), None
    )
    found, times, ids = Counter[str](), set(), set()
    for adapt, item in merged(recordings):
        try:
            event = adapt(item.payload, item.received_at_ns // 1000)
        except FrameRejectedError:
            found["broken"] += 1
            continue
        assert event is not None
        found[f"{event['venue']} {'trade' if is_trade(event) else 'quote'}"] += 1
        times.add(item.received_at_ns)
        if not is_trade(event):
            ids.add(event["update_id"])
            found["crossed"] += event["bid_price"] > event["ask_price"]
    quotes = found["binance_spot quote"] + found["binance_coinm quote"]
    assert set(found) == {
        *("binance_spot trade", "binance_spot quote"),
        *("binance_coinm trade", "binance_coinm quote"),
        *("broken", "crossed"),
    }
    assert min(found.values()) > 3
    assert len(ids) < quotes, "none is repeated"
    assert min(times) == START.timestamp() * 1e9
    assert 98e9 < max(times) - min(times) < 100e9
    assert len(recorded_market(recordings)) > 500

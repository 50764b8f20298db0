import gzip
import json
import threading
from pathlib import Path

import pytest
from recording_sinks import RecordingSink

from ingestion.adapters import UnknownVenueError, venue_named
from ingestion.replay import Pacer, adapters_for, replay

SECOND = 1_000_000_000
SPOT = venue_named("binance_spot")


def line(seconds: float, trade_id: int, symbol: str = "BTCUSDT") -> str:
    trade = {
        "e": "trade",
        "s": symbol,
        "t": trade_id,
        "p": "1",
        "q": "2",
        "T": int(seconds * 1000),
        "m": True,
    }
    return f"{int(seconds * SECOND)} {json.dumps(trade)}"


def record(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_bytes(gzip.compress(end.join(lines).encode()))
    return path


def test_recordings_are_merged_as_they_were_received(tmp_path: Path) -> None:
    first = record(tmp_path / "binance_spot_a.gz", line(1, 1), line(4, 2), line(5, 3))
    second = record(tmp_path / "binance_spot_b.gz", line(2, 1, "ETHUSDT"), line(4.5, 2, "ETHUSDT"))
    sink = RecordingSink()
    counts = replay(adapters_for([first, second], None), sink)
    order = [(event["symbol"], event["trade_id"]) for event in sink.events]
    assert order == [
        ("BTCUSDT", 1),
        ("ETHUSDT", 1),
        ("BTCUSDT", 2),
        ("ETHUSDT", 2),
        ("BTCUSDT", 3),
    ]
    assert counts.events == {"binance_spot:BTCUSDT": 3, "binance_spot:ETHUSDT": 2}
    assert sink.events[1]["received_at"] == 2_000_000


def test_what_is_bad_becomes_a_dead_letter_and_the_rest_goes_on(tmp_path: Path) -> None:
    truncated = line(2, 2)[:-10]
    path = record(
        tmp_path / "binance_spot.gz",
        line(1, 1),
        truncated,
        "no frame at all",
        line(3, 3).replace('"2"', "NaN"),
        '4 {"result": null, "id": 1}',
        line(5, 5),
        end="\r\n",
    )
    whole = path.read_bytes()
    cut = tmp_path / "binance_spot_cut.gz"
    cut.write_bytes(whole[:-9])
    sink = RecordingSink()
    counts = replay(adapters_for([path, cut], None), sink)
    assert counts.frames == 5 + 4
    assert counts.ignored == 2
    assert counts.rejected == {
        "malformed_json": 2,
        "malformed_line": 2,
        "non_finite_number": 2,
        "truncated_gzip": 1,
    }
    # The last line of the cut file was read, but whether it is whole nobody can know.
    assert [event["trade_id"] for event in sink.events] == [1, 1, 5]
    first = sink.refused[0]
    assert first.payload == truncated.partition(" ")[2].encode()
    assert first.source == f"{path}:2"
    assert first.received_at_ns == 2 * SECOND


def test_speed_scales_recorded_time(tmp_path: Path) -> None:
    path = record(tmp_path / "r.gz", line(100, 1), line(101, 2), line(160, 3), line(150, 4))
    sink = RecordingSink()
    pacer = Pacer(10, wait=sink.idle, clock=sink.clock)
    for at in (100, 101, 160, 150):
        pacer.wait_for(at * SECOND)
        sink.sent_at.append(sink.now)
    assert sink.sent_at == pytest.approx([0, 0.1, 6, 6])
    assert adapters_for([path], SPOT)


def test_without_a_speed_nothing_waits() -> None:
    sink = RecordingSink()
    pacer = Pacer(None, wait=sink.idle, clock=sink.clock)
    pacer.wait_for(0)
    pacer.wait_for(10**6 * SECOND)
    assert sink.now == 0


@pytest.mark.parametrize("speed", [0, -1])
def test_speed_must_be_positive(speed: float) -> None:
    with pytest.raises(ValueError, match="not positive"):
        Pacer(speed, wait=lambda _: None)


def test_stop_ends_a_replay_and_its_waiting(tmp_path: Path) -> None:
    path = record(tmp_path / "r.gz", line(1, 1), line(10**9, 2))
    stop = threading.Event()
    sink = RecordingSink()
    sink.on_send = stop.set
    counts = replay(adapters_for([path], SPOT), sink, speed=1, stop=stop)
    assert counts.events.total() == 1


def test_file_whose_name_states_no_venue_needs_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownVenueError):
        adapters_for([tmp_path / "frames.gz"], None)

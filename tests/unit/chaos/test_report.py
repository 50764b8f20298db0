"""The report of a run of chaos."""

from collections import Counter

from chaos.report import Report, Stream
from chaos.schedule import Kind, Planned

REPORT = Report(
    seed=7,
    seconds=61.4,
    faults=[
        (Planned(1, Kind.LANDER, 0.1, 0.2), {"land": 2.0, "speed": 0.5}),
        (Planned(2, Kind.BATCH, 0.1, 1.5), {"land": 4.0, "speed": 5.0, "batch": 40.0}),
        (Planned(3, Kind.LANDER, 0.1, 0.2), {"land": 3.0, "speed": 0.5}),
    ],
    acknowledged=1_234,
    streams=[Stream("market.trades", 1_234, 1_234, 1_200, 45)],
    jobs=Counter({"batch done": 2, "batch killed": 1}),
    ended=["speed: out of memory"],
)


def test_it_tells_faults_with_their_recoveries_and_where_messages_went() -> None:
    lines = [" ".join(line.split()) for line in str(REPORT).splitlines()]
    assert lines[0] == "seed 7: 3 faults in 61 s"
    assert "lander killed 2 2.5 s, at most 3.0 0.5 s, at most 0.5" in lines
    assert "1. lander killed: lander 2.0 s, speed layer 0.5 s" in lines
    assert any(
        "killed: lander 4.0 s, speed layer 5.0 s, the next batch took 40.0 s" in line
        for line in lines
    )
    assert any(line.startswith("batch killed 1 4.0 s, at most 4.0 5.0 s") for line in lines)
    assert "1,234 events sent and acknowledged" in lines
    assert "market.trades 1,234 1,234 1,200, 45" in lines
    assert "jobs: 2 batch done, 1 batch killed" in lines
    assert lines[-1] == "ended by itself: speed: out of memory"


def test_it_names_no_fault_that_there_was_not() -> None:
    assert Kind.DISK not in str(REPORT)

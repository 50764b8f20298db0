"""The clock that steps back: whatever stamps a commit of the lander reads it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from chaos.stepping_clock import SteppingClock

STEP = 7200.0
WHAT_STAMPS = """
import json
from chaos.stepping_clock import install
install()
from ingestion.lander.writer import utc_now
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import datetime
snapshot = Snapshot(snapshot_id=1, manifest_list="s", summary=Summary(Operation.APPEND))
times = utc_now().timestamp(), snapshot.timestamp_ms / 1000, datetime.now().astimezone().timestamp()
print(json.dumps(times))
"""


def stamps(clock: SteppingClock) -> list[float]:
    tests = Path(__file__).parents[2]
    paths = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    printed = subprocess.run(
        [sys.executable, "-c", WHAT_STAMPS],
        env=os.environ | clock.environ | {"PYTHONPATH": paths},
        check=True,
        capture_output=True,
    ).stdout
    found: list[float] = json.loads(printed)
    return found


def test_what_stamps_a_commit_reads_the_clock(tmp_path: Path) -> None:
    clock = SteppingClock(tmp_path / "clock")
    clock.step_back(STEP)
    for stamp in stamps(clock):
        assert STEP - 60 < time.time() - stamp < STEP + 60
    clock.set_right()
    for stamp in stamps(clock):
        assert abs(time.time() - stamp) < 60

"""The clock that steps back: whatever asks for the present in a verb reads it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from chaos.stepping_clock import ASKING, SteppingClock

from lakehouse.infra import CHECKOUT

STEP = 7200.0
# What each module says the time is, and what a snapshot is stamped with, before the clock is set
# right and after it; and which kind of values the modules make.
WHAT_IS_SAID = """
import json, os
from importlib import import_module
from pathlib import Path
from chaos.stepping_clock import ASKING, COMMITTING, VARIABLE, SteppingClock, install
for verb in ASKING:
    install(verb)
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
modules = {name: import_module(name) for name in sum(ASKING.values(), (COMMITTING,))}
def said():
    snapshot = Snapshot(snapshot_id=1, manifest_list="s", summary=Summary(Operation.APPEND))
    times = {name: module.datetime.now().astimezone() for name, module in modules.items()}
    made = {type(time) for time in (*times.values(), times[COMMITTING].fromisoformat("2024-08-09"))}
    assert [kind.__name__ for kind in made] == ["datetime"]
    return {name: time.timestamp() for name, time in times.items()} | {
        "snapshot": snapshot.timestamp_ms / 1000
    }
wrong = said()
SteppingClock(Path(os.environ[VARIABLE])).set_right()
print(json.dumps([wrong, said()]))
"""
# The rooms of the verbs; what asks elsewhere asks about processes, or is another verb.
ROOMS = {
    "ingestion/lander": ("land",),
    "speed": ("speed",),
    "batch": ("batch", "reconcile", "maintain"),
}


def test_what_asks_for_the_present_reads_the_clock(tmp_path: Path) -> None:
    clock = SteppingClock(tmp_path / "clock")
    clock.step_back(STEP)
    tests = Path(__file__).parents[2]
    paths = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    printed = subprocess.run(
        [sys.executable, "-c", WHAT_IS_SAID],
        env=os.environ | clock.environ | {"PYTHONPATH": paths},
        check=True,
        capture_output=True,
    ).stdout
    wrong, right = json.loads(printed)
    assert wrong.keys() == right.keys() > {name for names in ASKING.values() for name in names}
    for name in wrong:
        assert STEP - 60 < time.time() - wrong[name] < STEP + 60, name
        assert abs(time.time() - right[name]) < 60, name


def test_nobody_who_asks_for_the_present_is_forgotten() -> None:
    for room, verbs in ROOMS.items():
        asking = {
            ".".join(file.relative_to(CHECKOUT).with_suffix("").parts)
            for file in (CHECKOUT / room).rglob("*.py")
            if "datetime.now(" in file.read_text()
        }
        assert asking == {name for verb in verbs for name in ASKING[verb]}

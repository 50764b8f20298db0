"""The demo as a command that runs, and that a test may interrupt."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakehouse.settings import Settings

# A tour is minutes on a busy machine; it is less than three on an idle one.
DEADLINE_SECONDS = 1100.0
# What is interrupted stops a handful of processes, each with half a minute's grace.
STOP_SECONDS = 240.0
LAKEHOUSE = (sys.executable, "-m", "lakehouse")
DEMO = (*LAKEHOUSE, "demo")


def environ(settings: Settings) -> dict[str, str]:
    return os.environ | {"LAKEHOUSE_HOME": str(settings.home)}


@contextmanager
def running_demo(
    settings: Settings, out: Path, *options: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the demo as a terminal would; whatever the test does, it is gone afterwards."""
    with out.open("wb") as stream:
        process = subprocess.Popen(
            [*DEMO, *options],
            env=environ(settings),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)

"""Run a command, and again whenever it ends by itself: for servers that end with their database.

Example: python -m lakehouse.stack.kept airflow scheduler
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

# One that has never lived as long cannot be started: whoever starts it is told at once.
SETTLED_SECONDS = 60.0
# Between an end and the next start: its database is seldom back sooner.
PAUSE_SECONDS = 2.0


class Kept:
    """A command that is kept running.

    Args:
        argv: The command.
        settled_seconds: Once it has lived so long it is started again, however it ends.
    """

    def __init__(self, argv: Sequence[str], *, settled_seconds: float = SETTLED_SECONDS) -> None:
        self._argv, self._settled_seconds = list(argv), settled_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def run(self) -> int:
        """Keep it running until it is told to stop, or could not be started; return its code."""
        has_settled = False
        while True:
            started = time.monotonic()
            with subprocess.Popen(self._argv) as self._process:  # noqa: S603 - our own commands
                if self._is_stopping:  # told so before there was anybody to pass it on to
                    self._process.terminate()
                code = self._process.wait()
            has_settled |= time.monotonic() - started > self._settled_seconds
            if self._is_stopping or not has_settled:
                return code
            print(f"{self._argv[-1]} ended with {code}: again in {PAUSE_SECONDS:g} s", flush=True)
            time.sleep(PAUSE_SECONDS)

    def stop(self, number: int, _frame: FrameType | None) -> None:
        """Pass a request to stop on; for `signal.signal`."""
        self._is_stopping = True
        if self._process is not None:
            self._process.send_signal(number)


def main(argv: Sequence[str]) -> int:
    """Keep a command running; SIGTERM and SIGINT are passed on to it and end both."""
    kept = Kept(argv)
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, kept.stop)
    return kept.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

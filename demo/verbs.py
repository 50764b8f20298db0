"""The platform's verbs as the demo runs them: real commands in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from demo.signals import uninterrupted
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

LAKEHOUSE = (sys.executable, "-m", "lakehouse")
QUOTED_LINES = 15
# The demo's drivers live for seconds or a minute: the optimising compiler would take as much of the
# cores as the work itself (a batch run of the sample took 45 CPU seconds with it, 25 without). The
# quick one makes little room for code unless told to, and throws away what it needs again.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"
# A Spark driver that is asked to stop ends its JVM first.
STOP_GRACE_SECONDS = 10.0


class VerbFailedError(LakehouseError):
    """A command of the platform failed; quotes the end of what it said."""


class Verb:
    """One running command; leaving its context ends it with all that it started.

    It leads a session of its own: Ctrl-C reaches the demo alone, which ends the rest in order.
    """

    def __init__(self, settings: Settings, *words: str) -> None:
        """Start ``lakehouse`` with ``words``, which ask for JSON on standard output."""
        self.words = words
        self.started_at = time.monotonic()
        logs = settings.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._output, self._errors = logs / f"{words[0]}.json", logs / f"{words[0]}.log"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [*LAKEHOUSE, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=os.environ | {"LAKEHOUSE_HOME": str(settings.home)} | short_lived(),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with uninterrupted():
            self.stop()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def alive(self) -> bool:
        """True while it runs or once it has ended well.

        Raises:
            VerbFailedError: It has failed.
        """
        return self.running or self.result() is not None

    def result(self) -> Any:
        """Wait for the end and return what it printed.

        Raises:
            VerbFailedError: It failed, or printed no JSON.
        """
        code = self._process.wait()
        if code == 0:
            with suppress(json.JSONDecodeError):
                return json.loads(self._output.read_text())
        said = self._errors.read_text(errors="replace").splitlines()[-QUOTED_LINES:]
        quoted = "\n".join(f"  | {line}" for line in said)
        raise VerbFailedError(
            f"`lakehouse {' '.join(self.words)}` ended with {code}. "
            f"The end of {self._errors}:\n{quoted}"
        )

    def stop(self) -> None:
        """End it and its children, politely first; nothing happens if it has ended."""
        if not self.running:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_GRACE_SECONDS)
        # Its children are in its group, also those that outlive it.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def short_lived() -> dict[str, str]:
    """Return the variables of a process whose JVM will not live for long."""
    options = f"{os.environ.get('JDK_JAVA_OPTIONS', '')} {JAVA_OPTIONS}".strip()
    return {"JDK_JAVA_OPTIONS": options}

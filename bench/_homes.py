"""A home of a measurement's own, on which the platform is at work."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))


class BenchHome:
    """A home, and the commands of ``lakehouse`` on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._environ = os.environ | {"LAKEHOUSE_HOME": str(path)}

    def run(self, *words: str) -> None:
        """Run a command that may print what it does.

        Raises:
            subprocess.CalledProcessError: It failed.
        """
        subprocess.run([LAKEHOUSE, *words], env=self._environ, check=True)

    def ask(self, *words: str) -> bytes:
        """Run a command and return what it printed.

        Raises:
            subprocess.CalledProcessError: It failed.
        """
        command = [LAKEHOUSE, *words]
        return subprocess.run(command, env=self._environ, check=True, stdout=subprocess.PIPE).stdout

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a command, and leave it to the caller to wait for it and to read its output."""
        return subprocess.Popen([LAKEHOUSE, *words], env=self._environ, stdout=subprocess.PIPE)


@contextmanager
def running_home(name: str, *options: str) -> Iterator[BenchHome]:
    """Bring the platform up on an empty home; take it down and remove the home at the end.

    Args:
        name: What is measured; the temporary folder's name begins with it.
        options: Of ``lakehouse up``.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        home = BenchHome(Path(folder) / "home")
        home.run("up", *options)
        try:
            yield home
        finally:
            home.run("down")

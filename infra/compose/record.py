"""What a check has seen, as it is told in the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import typer


@dataclass
class Record:
    """The lines of a check."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str = "") -> None:
        """Keep a line, and print it."""
        self.lines.append(line)
        typer.echo(line)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Say how long something took."""
        began = time.monotonic()
        yield
        self.say(f"{what}: {time.monotonic() - began:.0f} s")

"""What a producer's command shows while it works, and its summary at the end."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ingestion.intake import IntakeCounts
from ingestion.load import LoadCounts

_SHOWN_EVERY_SECONDS: Final = 0.1
# Standard output is for the summary, which a program may read.
_console = Console(stderr=True)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show counts of events and refusals on a terminal; elsewhere show nothing."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_console, disable=not _console.is_terminal) as bar:
        task = bar.add_task(what)
        shown_at = started = time.monotonic()

        def show(events: int, refused: int) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if now - shown_at >= _SHOWN_EVERY_SECONDS:
                shown_at = now
                rate = events / (now - started)
                bar.update(
                    task,
                    description=f"{what}: {events:,} events, {rate:,.0f}/s, {refused:,} refused",
                )

        yield show


def intake_summary(counts: IntakeCounts, started: float) -> dict[str, Any]:
    """Return what became of the input since ``started``, a time of the monotonic clock."""
    elapsed = time.monotonic() - started
    events = counts.events.total()
    return {
        "frames": counts.frames,
        "events": events,
        "ignored": counts.ignored,
        "rejected": dict(counts.rejected),
        "by_instrument": dict(sorted(counts.events.items())),
        "seconds": round(elapsed, 3),
        "events_per_second": round(events / elapsed, 1),
    }


def load_summary(counts: LoadCounts, started: float) -> dict[str, Any]:
    """Return what was sent since ``started``, a time of the monotonic clock."""
    elapsed = time.monotonic() - started
    return {
        "events": counts.events,
        "undecodable": counts.undecodable,
        "seconds": round(elapsed, 3),
        "events_per_second": round(counts.messages / elapsed, 1),
    }


def summarise(summary: dict[str, Any], *, as_json: bool) -> None:
    """Print a summary, for a person or as JSON."""
    if as_json:
        typer.echo(json.dumps(summary))
        return
    for name, value in summary.items():
        typer.echo(f"{name.replace('_', ' '):>18}  {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none"
    return f"{value:,}"

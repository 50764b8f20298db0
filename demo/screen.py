"""Where the demo shows what it does: a live picture on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from demo.monitor import Observation
from demo.panels import grid, legend, metrics, metrics_line, replay_bar

REFRESHES_PER_SECOND = 4
# A log file that somebody reads later needs no more.
PLAIN_LINE_SECONDS = 5.0


class Screen(Protocol):
    """What the tour says to whoever watches."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and say how long it took."""

    def tell(self, detail: str) -> None:
        """Say what the present step is doing."""

    def show(self, seen: Observation) -> None:
        """Show the loop as it is now."""

    def note(self, *what: RenderableType) -> None:
        """Print something that stays."""


def screen_for(console: Console) -> Screen:
    """Return a live screen for a terminal and a plain one for everything else."""
    return LiveScreen(console) if console.is_terminal else PlainScreen(console)


class LiveScreen:
    """Finished steps scroll up; below them, the present step and the loop as it runs."""

    def __init__(self, console: Console) -> None:
        self._title = ""
        self._detail = ""
        self._seen: Observation | None = None
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._live.stop()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a spinner beside the title; then a line that stays."""
        self._title, self._detail, started = title, "", time.monotonic()
        mark = "[red]✗[/]"
        try:
            yield
            mark = "[green]✓[/]"
        finally:
            self._title = ""
            self._live.console.print(
                f"{mark} {title} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False
            )

    def tell(self, detail: str) -> None:
        """Show the detail beside the title."""
        self._detail = detail

    def show(self, seen: Observation) -> None:
        """Show this from the next refresh on."""
        self._seen = seen

    def note(self, *what: RenderableType) -> None:
        """Print above the live part; a text that is too long runs on, so that it can be copied."""
        for item in what:
            self._live.console.print(item, highlight=False, soft_wrap=isinstance(item, str))

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._title:
            detail = f"  [dim]{self._detail}[/]" if self._detail else ""
            self._spinner.update(text=Text.from_markup(f"{self._title}{detail}"))
            parts.append(self._spinner)
        if (seen := self._seen) is not None:
            parts += ["", replay_bar(seen), metrics(seen), "", legend(), grid(seen.bars)]
        return Group(*parts)


class PlainScreen:
    """Lines of text, each of which says something new."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at = float("-inf")
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        pass

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a line at the beginning and one at the end."""
        started = time.monotonic()
        self._line(f"… {title}")
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            self._line(f"{outcome}: {title} ({time.monotonic() - started:.1f} s)")

    def tell(self, detail: str) -> None:
        """Print the detail."""
        self._line(f"  {detail}")

    def show(self, seen: Observation) -> None:
        """Print a line every few seconds, unless it would say the same again."""
        line = metrics_line(seen)
        if line != self._shown and time.monotonic() - self._shown_at >= PLAIN_LINE_SECONDS:
            self._shown, self._shown_at = line, time.monotonic()
            self._line(f"  {line}")

    def note(self, *what: RenderableType) -> None:
        """Print it without colours; a text that is too long runs on, so that it can be copied."""
        for item in what:
            self._console.print(item, highlight=False, soft_wrap=isinstance(item, str))

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

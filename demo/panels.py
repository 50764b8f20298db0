"""What the demo shows, as rich renderables: counters, the grid of merged bars, verdicts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.freshness import Freshness
from demo.monitor import PROVISIONAL, RECENT_SECONDS, RECONCILED, Observation
from demo.oracle import Verdict

STYLES = {RECONCILED: "green", PROVISIONAL: "yellow"}
MARKS = {RECONCILED: "●", PROVISIONAL: "○"}
PLAIN_WIDTH = 100

Bars = Sequence[Mapping[str, Any]]


def metrics(seen: Observation) -> RenderableType:
    """Show how far the log, bronze and the view are, how fresh, and which layer serves what."""
    table = Table.grid(padding=(0, 2))
    for _ in range(2):
        table.add_column(style="bold")
        table.add_column()
    table.add_row(
        "produced",
        f"{seen.produced:>7,} of {seen.expected:,}  {seen.rate:>6,.0f} events/s",
        "freshness",
        _freshness(f"last {RECENT_SECONDS:.0f} s", seen.recent),
    )
    table.add_row(
        "bronze", _lag(seen.landed, seen.landing_lag), "", _freshness("so far", seen.overall)
    )
    table.add_row(
        "merged view", _lag(seen.produced - seen.unseen, seen.unseen), "speed layer",
        f"{seen.speed_rows} bar versions held",
    )  # fmt: skip
    for status in (RECONCILED, PROVISIONAL):
        bars, trades = seen.layers.bars.get(status, 0), seen.layers.trades.get(status, 0)
        label = Text(f"{MARKS[status]} {status.lower()}", style=STYLES[status])
        table.add_row(label, f"{trades:>7,} trades in {bars} bars")
    return table


def replay_bar(seen: Observation) -> RenderableType:
    """Show how much of the recording is in the log, and the market's time in the view."""
    clock = f"{seen.market_time:%H:%M:%S}" if seen.market_time else "--:--:--"
    line = Table.grid(padding=(0, 2), expand=True)
    line.add_column(width=17)
    line.add_column(ratio=1)
    line.add_row(
        f"market {clock}",
        ProgressBar(total=seen.expected, completed=seen.produced, complete_style="cyan"),
    )
    return line


def grid(bars: Bars) -> Table:
    """Show the merged minute bars, a row for each minute: close, trades and which layer's it is."""
    instruments = sorted({(bar["venue"], bar["symbol"]) for bar in bars})
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("minute", no_wrap=True)
    for _, symbol in instruments:
        table.add_column(symbol, justify="right", no_wrap=True)
    by_minute: dict[datetime, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for bar in bars:
        by_minute.setdefault(bar["window_start"], {})[bar["venue"], bar["symbol"]] = bar
    previous = None
    for minute, found in sorted(by_minute.items()):
        # The day's change is where the hour's batch ends: worth a line.
        new_day = previous is not None and previous.date() != minute.date()
        if new_day:
            table.add_row(Text(f"{minute:%m-%d}", style="dim"))
        table.add_row(f"{minute:%H:%M}", *(_cell(found.get(name)) for name in instruments))
        previous = minute
    return table


def legend() -> Text:
    """Explain the marks."""
    return Text.assemble(
        "merged 1-minute bars: close, trades   ",
        *((f"{MARKS[status]} {status}  ", STYLES[status]) for status in (RECONCILED, PROVISIONAL)),
    )


def metrics_line(seen: Observation) -> str:
    """Say in a line what :func:`metrics` shows, for a log file."""
    counts = ", ".join(
        f"{seen.layers.trades.get(status, 0)} {status}" for status in (RECONCILED, PROVISIONAL)
    )
    fresh = seen.recent or seen.overall
    freshness = f"freshness {_percentiles(fresh)}" if fresh else "freshness not known yet"
    return (
        f"produced {seen.produced} ({seen.rate:.0f}/s), bronze lag {seen.landing_lag}, "
        f"view lag {seen.unseen}, {freshness}, trades {counts}"
    )


def verdicts(found: Mapping[str, Verdict]) -> Table:
    """Show what the oracle says of each view."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("view")
    table.add_column("rows", justify="right")
    table.add_column("values", justify="right")
    table.add_column("oracle")
    for view, verdict in found.items():
        said = (
            Text("EQUAL, to the last digit", style="bold green")
            if verdict.equal
            else Text(str(verdict), style="bold red")
        )
        table.add_row(view, f"{verdict.rows:,}", f"{verdict.values:,}", said)
    return table


def _cell(bar: Mapping[str, Any] | None) -> Text:
    if bar is None:
        return Text("")
    style = STYLES[bar["status"]]
    return Text.assemble(
        (f"{bar['close']:.2f}", style),
        (f" {bar['trade_count']:>4}", "dim"),
        (f" {MARKS[bar['status']]}", style),
    )


def _lag(count: int, lag: int) -> str:
    return f"{count:>7,} events  {lag:>6,} behind"


def _freshness(span: str, found: Freshness | None) -> str:
    return f"{span:<9} {_percentiles(found) if found else '-'}"


def _percentiles(found: Freshness) -> str:
    shares = {"p50": found.p50_seconds, "p95": found.p95_seconds, "p99": found.p99_seconds}
    return "  ".join(f"{share} {seconds:.1f} s" for share, seconds in shares.items())

"""What the demo shows, as rich renderables: counters, the grid of merged bars, verdicts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.freshness import Freshness
from demo.monitor import PROVISIONAL, RECENT_SECONDS, RECONCILED, Observation
from demo.oracle import Verdict

STYLES = {RECONCILED: "green", PROVISIONAL: "yellow"}
MARKS = {RECONCILED: "●", PROVISIONAL: "○"}

Bars = Sequence[Mapping[str, Any]]


def metrics(seen: Observation) -> RenderableType:
    """Show how far the log, bronze and the view are, which layer serves what, and how fresh."""
    counts = Table.grid(padding=(0, 2))
    for _ in range(2):
        counts.add_column(style="bold", no_wrap=True)
        counts.add_column(no_wrap=True)
    flow = [
        ("produced", f"{seen.produced:,}/{seen.expected:,}  {seen.rate:,.0f} events/s"),
        ("bronze", f"{seen.landed:,}  {seen.landing_lag:,} behind"),
        ("merged view", f"{seen.produced - seen.unseen:,}  {seen.unseen:,} behind"),
    ]
    layers = [_layer(seen, status) for status in (RECONCILED, PROVISIONAL)]
    layers.append((Text("speed layer"), f"holds {seen.speed_rows} bar versions"))
    for left, right in zip(flow, layers, strict=True):
        counts.add_row(*left, *right)
    fresh = Text.assemble(
        ("freshness    ", "bold"),
        f"last {RECENT_SECONDS:.0f} s {_percentiles(seen.recent)}   "
        f"so far {_percentiles(seen.overall)}   ",
        ("p50 / p95 / p99", "dim"),
    )
    return Group(counts, fresh)


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
    freshness = f"{_percentiles(fresh)} (p50 / p95 / p99)" if fresh else "not known yet"
    return (
        f"produced {seen.produced} ({seen.rate:.0f}/s), bronze lag {seen.landing_lag}, "
        f"view lag {seen.unseen}, freshness {freshness}, trades {counts}"
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


def _layer(seen: Observation, status: str) -> tuple[Text, str]:
    trades, bars = seen.layers.trades.get(status, 0), seen.layers.bars.get(status, 0)
    label = Text(f"{MARKS[status]} {status.lower()}", style=STYLES[status])
    return label, f"{trades:,} trades, {bars} bars"


def _percentiles(found: Freshness | None) -> str:
    if found is None:
        return "-"
    return f"{found.p50_seconds:.1f} / {found.p95_seconds:.1f} / {found.p99_seconds:.1f} s"

"""Candlestick pictures of merged bars in which what is still provisional shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from lakehouse.errors import LakehouseError
from serving.engines import Engine

MINUTE = timedelta(minutes=1)
# Colours that people who confuse red and green tell apart too.
RISING, FALLING = "#00796b", "#c2410c"
INK, FAINT, PAPER = "#1f2933", "#d9dee3", "#ffffff"
# Of a minute's width; the rest is the gap to the next bar.
_BODY_WIDTH = 0.72
_COLUMNS = 2
# Heights in inches: the title, each row of charts, the legend.
_HEADER, _CHART, _FOOTER = 0.8, 3.2, 0.4
# More small charts than this cannot be read on one page.
MOST_INSTRUMENTS = 12
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.6,
}


class NothingToDrawError(LakehouseError):
    """There are no bars, or bars of more instruments than a picture can hold."""


@dataclass(frozen=True)
class Bar:
    """One minute of one instrument, as the merged view has it."""

    venue: str
    symbol: str
    window_start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    status: str

    @property
    def instrument(self) -> tuple[str, str]:
        """Venue and symbol."""
        return self.venue, self.symbol

    @property
    def is_provisional(self) -> bool:
        """Batch has not confirmed it yet."""
        return self.status == "PROVISIONAL"

    @property
    def colour(self) -> str:
        """The colour of its direction; a bar that closes where it opened counts as rising."""
        return RISING if self.close >= self.open else FALLING


def read_bars(
    engine: Engine,
    *,
    venues: Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Bar]:
    """Read merged one-minute bars, ordered by instrument and time.

    Args:
        engine: Where to read ``serving.bars_1m``.
        venues: Only these; all when left out.
        symbols: Only these; all when left out.
        since: The first minute; times without a zone are UTC.
        until: The minute after the last.
    """
    conditions = ["true"]
    for column, names in (("venue", venues), ("symbol", symbols)):
        if names:
            listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
            conditions.append(f"{column} IN ({listed})")
    for comparison, moment in ((">=", since), ("<", until)):
        if moment is not None:
            # Trino's spelling of an instant; DuckDB, whose time zone is UTC here, reads it too.
            text = f"{_utc(moment).astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
            conditions.append(f"window_start {comparison} TIMESTAMP '{text}'")
    columns = ", ".join(Bar.__dataclass_fields__)
    rows = engine.query(
        f"SELECT {columns} FROM serving.bars_1m "
        f"WHERE {' AND '.join(conditions)} ORDER BY venue, symbol, window_start"
    )
    return [Bar(**row) for row in rows.to_pylist()]


def draw_bars(bars: Sequence[Bar], out: Path, *, title: str = "Merged one-minute bars") -> None:
    """Write a PNG with a small chart for each instrument: prices above, volume below.

    All charts share one time axis, gaps stay gaps, and each price axis has its own range: candles
    are compared within an instrument. Reconciled bars are filled, provisional ones are hollow.

    Args:
        bars: Ordered by instrument and time.
        out: The file; its folder is created.
        title: Printed above the charts.

    Raises:
        NothingToDrawError: No bars, or more than `MOST_INSTRUMENTS` instruments.
    """
    charts = [list(group) for _, group in groupby(bars, key=lambda bar: bar.instrument)]
    if not charts:
        raise NothingToDrawError("there are no bars to draw; has anything been ingested?")
    if len(charts) > MOST_INSTRUMENTS:
        raise NothingToDrawError(
            f"{len(charts)} instruments do not fit one picture (at most {MOST_INSTRUMENTS}): "
            "choose some by --venue and --symbol"
        )
    with mpl.rc_context(_STYLE):
        figure = _figure(charts, title)
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=150)


def _figure(charts: Sequence[Sequence[Bar]], title: str) -> Figure:
    columns = min(_COLUMNS, len(charts))
    rows = -(-len(charts) // columns)
    height = _HEADER + _CHART * rows + _FOOTER
    figure = Figure(figsize=(6.4 * columns + (2 if columns == 1 else 0), height), facecolor=PAPER)
    FigureCanvasAgg(figure)
    first = min(bar.window_start for chart in charts for bar in chart)
    last = max(bar.window_start for chart in charts for bar in chart) + MINUTE
    header, body, footer = figure.subfigures(
        3, 1, height_ratios=[_HEADER, _CHART * rows, _FOOTER], hspace=0, squeeze=False
    ).flat
    header.text(0.02, 0.78, title, fontsize=14, fontweight="bold", va="top")
    header.text(0.02, 0.3, _subtitle(charts, first, last), va="top")
    cells = body.subfigures(rows, columns, squeeze=False, hspace=0, wspace=0).flat
    for cell, chart in zip(cells, charts, strict=False):
        _draw_instrument(cell, chart, first, last)
    footer.legend(handles=_legend(), loc="center left", ncols=4, frameon=False)
    return figure


def _draw_instrument(cell: SubFigure, bars: Sequence[Bar], first: datetime, last: datetime) -> None:
    cell.set_facecolor("none")
    prices, volumes = cell.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.06}
    )
    cell.subplots_adjust(left=0.14, right=0.985, top=0.88, bottom=0.12)
    width = _BODY_WIDTH * _days(MINUTE)
    for bar in bars:
        middle = _place(bar.window_start + MINUTE / 2)
        fill = "none" if bar.is_provisional else bar.colour
        _draw_candle(prices, bar, middle, width, fill)
        volumes.bar(
            middle,
            float(bar.volume),
            width,
            facecolor=fill,
            edgecolor=bar.colour,
            hatch="////" if bar.is_provisional else None,
            linewidth=0.8,
            alpha=0.75,
        )
    venue, symbol = bars[0].instrument
    prices.set_title(symbol, loc="left", fontsize=10.5, fontweight="bold")
    prices.set_title(venue, loc="right", fontsize=9, color="#64707d")
    _finish_axes(prices, volumes, first, last)


def _draw_candle(axes: Axes, bar: Bar, middle: float, width: float, fill: str) -> None:
    low, high = sorted((float(bar.open), float(bar.close)))
    # Two wicks, so that no line crosses a hollow body.
    axes.vlines(
        [middle, middle], [float(bar.low), high], [low, float(bar.high)], colors=bar.colour, lw=0.9
    )
    if low == high:
        # A body without height would not show, nor whether it is hollow.
        style = "dotted" if bar.is_provisional else "solid"
        axes.hlines(
            low, middle - width / 2, middle + width / 2, colors=bar.colour, lw=1.4, ls=style
        )
        return
    axes.add_patch(
        Rectangle(
            (middle - width / 2, low),
            width,
            high - low,
            facecolor=fill,
            edgecolor=bar.colour,
            linewidth=1.0,
        )
    )


def _finish_axes(prices: Axes, volumes: Axes, first: datetime, last: datetime) -> None:
    prices.autoscale_view()
    prices.margins(y=0.08)
    # A margin of half a minute: the first and the last candle stand clear of the frame.
    prices.set_xlim(_place(first) - _days(MINUTE / 2), _place(last) + _days(MINUTE / 2))
    volumes.set_ylim(bottom=0)
    locator = AutoDateLocator(tz=UTC, minticks=4, maxticks=8)  # type: ignore[no-untyped-call]
    volumes.xaxis.set_major_locator(locator)
    clock = ConciseDateFormatter(locator, tz=UTC, show_offset=False)  # type: ignore[no-untyped-call]
    volumes.xaxis.set_major_formatter(clock)
    prices.yaxis.set_major_locator(MaxNLocator(5))
    prices.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    volumes.yaxis.set_major_locator(MaxNLocator(3))
    prices.set_ylabel("price")
    volumes.set_ylabel("volume")
    prices.tick_params(axis="x", length=0)
    for axes in (prices, volumes):
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_label_coords(-0.115, 0.5)


def _subtitle(charts: Sequence[Sequence[Bar]], first: datetime, last: datetime) -> str:
    bars = [bar for chart in charts for bar in chart]
    provisional = sum(bar.is_provisional for bar in bars)
    times = f"{first.astimezone(UTC):%Y-%m-%d %H:%M} to {last.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{times}   ·   {len(bars) - provisional} reconciled and {provisional} provisional bars"


def _legend() -> list[Patch]:
    return [
        Patch(facecolor=RISING, edgecolor=RISING, label="rising, reconciled"),
        Patch(facecolor=FALLING, edgecolor=FALLING, label="falling, reconciled"),
        Patch(facecolor="none", edgecolor=RISING, hatch="////", label="rising, provisional"),
        Patch(facecolor="none", edgecolor=FALLING, hatch="////", label="falling, provisional"),
    ]


def _place(moment: datetime) -> float:
    """Return where a moment is on a time axis."""
    return float(date2num(moment))  # type: ignore[no-untyped-call]


def _days(span: timedelta) -> float:
    """Return a span in days, the unit of matplotlib's time axes."""
    return span / timedelta(days=1)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment

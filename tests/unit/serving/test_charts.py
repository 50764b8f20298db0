"""Candlestick pictures: what is drawn how, and from which bars."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from serving import charts
from serving.charts import Bar, NothingToDrawError, draw_bars, read_bars
from serving.engine import SqlEngine


def bars(count: int, *, symbol: str = "BTCUSDT", provisional: int = 0) -> list[Bar]:
    start = charts.datetime(2024, 8, 8, 23, 58, tzinfo=charts.UTC)
    return [
        Bar(
            venue="binance_spot",
            symbol=symbol,
            window_start=start + timedelta(minutes=minute),
            open=Decimal(100),
            high=Decimal(103),
            low=Decimal(98),
            close=Decimal(101 if minute % 2 else 99),
            volume=Decimal(5),
            status="PROVISIONAL" if minute >= count - provisional else "RECONCILED",
        )
        for minute in range(count)
    ]


def figure_of(drawn: Sequence[Sequence[Bar]]) -> Figure:
    return charts._figure(drawn, "Bars")


def bodies(figure: Figure, chart: int = 0) -> list[Rectangle]:
    prices = figure.axes[2 * chart]
    return [patch for patch in prices.patches if isinstance(patch, Rectangle)]


def test_provisional_bars_are_hollow() -> None:
    hollow = [
        patch.get_facecolor()[3] == 0 for patch in bodies(figure_of([bars(5, provisional=2)]))
    ]
    assert hollow == [False, False, False, True, True]


def test_volume_of_provisional_bars_is_hatched() -> None:
    volumes = figure_of([bars(3, provisional=1)]).axes[1]
    assert [bool(patch.get_hatch()) for patch in volumes.patches] == [False, False, True]
    assert volumes.get_ylim()[0] == 0


def test_each_instrument_has_a_chart_and_all_share_the_time() -> None:
    late = bars(9, symbol="ETHUSDT")[6:]
    figure = figure_of([bars(3), late])
    assert len(figure.axes) == 4
    assert figure.axes[0].get_xlim() == figure.axes[2].get_xlim()
    assert figure.axes[0].get_title(loc="left") == "BTCUSDT"


def test_the_legend_names_both_states() -> None:
    figure = figure_of([bars(2, provisional=1)])
    (legend,) = (legend for part in figure.subfigs for legend in part.legends)
    names = {text.get_text() for text in legend.texts}
    assert {"rising, provisional", "falling, reconciled"} <= names


def test_a_bar_without_a_body_still_shows() -> None:
    (bar,) = bars(1)
    still = Bar(**{**bar.__dict__, "close": bar.open})
    figure = figure_of([[still]])
    assert bodies(figure) == []
    assert len(figure.axes[0].collections) == 2  # the wicks, and a line for the body


def test_a_picture_is_written(tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "bars.png"
    draw_bars(bars(4, provisional=1), out)
    assert image.imread(out).std() > 0.05  # not blank


@pytest.mark.parametrize(
    ("drawn", "problem"),
    [
        ([], "no bars"),
        ([bar for n in range(13) for bar in bars(1, symbol=f"S{n:02}")], "choose some"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, drawn: list[Bar], problem: str) -> None:
    with pytest.raises(NothingToDrawError, match=problem):
        draw_bars(drawn, tmp_path / "bars.png")


def test_bars_come_from_the_merged_view(append: Any, bar: Any, engine: SqlEngine) -> None:
    append("gold.bars_1m", [bar(minute, last_offset=1) for minute in range(3)])
    append("gold.bars_1m_rt", [bar(2, last_offset=2), bar(0, last_offset=2, symbol="It's")])
    start = bar(last_offset=1)["window_start"]
    read = read_bars(
        engine, symbols=["BTCUSDT"], venues=["binance_spot"], since=start + charts.MINUTE
    )
    assert [(b.window_start - start, b.status) for b in read] == [
        (charts.MINUTE, "RECONCILED"),
        (2 * charts.MINUTE, "PROVISIONAL"),
    ]
    (other,) = read_bars(
        engine, symbols=["It's"], until=(start + charts.MINUTE).replace(tzinfo=None)
    )
    assert other.is_provisional

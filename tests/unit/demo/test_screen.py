"""What a person sees: the panels as text, and the two screens."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from demo import screen
from demo.freshness import Freshness
from demo.monitor import Layers, Observation
from demo.oracle import Difference, Verdict
from demo.panels import grid, metrics, metrics_line, verdicts
from demo.screen import LiveScreen, PlainScreen, screen_for

MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)


def bar(minutes: int, status: str, symbol: str = "BTCUSDT", trades: int = 7) -> dict[str, Any]:
    start = MIDNIGHT + timedelta(minutes=minutes)
    return {
        "venue": "binance_spot",
        "symbol": symbol,
        "window_start": start,
        "close": Decimal("61700.10000000"),
        "trade_count": trades,
        "last_trade_at": start + timedelta(seconds=30),
        "status": status,
    }


def observation(**changes: Any) -> Observation:
    bars = [bar(-1, "RECONCILED", trades=40), bar(0, "PROVISIONAL")]
    facts: dict[str, Any] = {
        "expected": 100,
        "produced": 60,
        "rate": 12.0,
        "landed": 55,
        "unseen": 13,
        "speed_rows": 9,
        "bars": bars,
        "layers": Layers.of(bars),
        "recent": Freshness(
            events=5, p50_seconds=1.23, p95_seconds=2.0, p99_seconds=2.5, max_seconds=3.0
        ),
        "overall": None,
    }
    return Observation(**facts | changes)


def text_of(*what: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    for item in what:
        console.print(item)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_an_observation_counts_what_lags() -> None:
    seen = observation()
    assert seen.landing_lag == 5
    assert seen.market_time == MIDNIGHT + timedelta(seconds=30)
    assert observation(bars=[]).market_time is None


def test_rows_are_counted_by_layer() -> None:
    layers = Layers.of([bar(-1, "RECONCILED"), bar(0, "RECONCILED"), bar(1, "PROVISIONAL")])
    assert layers.bars == {"RECONCILED": 2, "PROVISIONAL": 1}
    assert layers.trades == {"RECONCILED": 14, "PROVISIONAL": 7}


def test_the_grid_marks_each_bar_with_its_layer() -> None:
    rows = text_of(grid([bar(-1, "RECONCILED"), bar(0, "PROVISIONAL")])).splitlines()
    assert rows[1].split() == ["23:59", "61700.10", "7", "●"]
    assert rows[2].split() == ["08-09"]  # the day's change
    assert rows[3].split() == ["00:00", "61700.10", "7", "○"]


def test_a_minute_without_a_bar_is_empty_and_the_next_column_stays_in_place() -> None:
    found = text_of(
        grid([bar(0, "RECONCILED"), bar(1, "RECONCILED"), bar(1, "PROVISIONAL", "ETHUSDT")])
    )
    first, second = found.splitlines()[1:3]
    assert (first.count("●"), first.count("○")) == (1, 0)
    assert (second.count("●"), second.count("○")) == (1, 1)


def test_four_instruments_fit_a_narrow_terminal() -> None:
    symbols = ("BTCUSDT", "ETHUSDT", "BTCUSD_PERP", "ETHUSD_PERP")
    bars = [bar(0, "PROVISIONAL", symbol, 4999) for symbol in symbols]
    assert text_of(grid(bars), width=80).count("61700.10 4999 ○") == 4


def test_the_metrics_tell_rate_lags_freshness_and_layers() -> None:
    lines = text_of(metrics(observation()), width=80).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "produced 60/100 12 events/s ● reconciled 40 trades, 1 bars",
        "bronze 55 5 behind ○ provisional 7 trades, 1 bars",
        "merged view 47 13 behind speed layer holds 9 bar versions",
        "freshness last 10 s 1.2 / 2.0 / 2.5 s so far - p50 / p95 / p99",
    ]


def test_the_line_for_a_log_file() -> None:
    assert metrics_line(observation()) == (
        "produced 60 (12/s), bronze lag 5, view lag 13, "
        "freshness 1.2 / 2.0 / 2.5 s (p50 / p95 / p99), trades 40 RECONCILED, 7 PROVISIONAL"
    )
    assert "not known yet" in metrics_line(observation(recent=None))


def test_differences_are_shown_with_what_should_be() -> None:
    wrong = Verdict(
        rows=3, values=9, differences=(Difference(("binance_spot", "BTCUSDT"), "volume", 1, 2),)
    )
    right = Verdict(rows=3, values=9, differences=())
    found = text_of(verdicts({"serving.bars_1m": wrong, "serving.bars_1h": right}))
    assert "volume should be 1, is 2" in found
    assert found.count("EQUAL") == 1


def test_a_terminal_gets_the_live_screen() -> None:
    assert isinstance(screen_for(Console(file=io.StringIO())), PlainScreen)
    assert isinstance(screen_for(Console(file=io.StringIO(), force_terminal=True)), LiveScreen)


def test_plain_lines_say_new_things_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PLAIN_LINE_SECONDS", 0.0)
    out = io.StringIO()
    with PlainScreen(Console(file=out, width=300)) as plain, plain.step("replay"):
        plain.show(observation())
        plain.show(observation())
        plain.show(observation(produced=70))
    lines = out.getvalue().splitlines()
    assert [line.split("(")[0].strip() for line in lines] == [
        "… replay",
        "produced 60",
        "produced 70",
        "done: replay",
    ]


def test_a_step_that_fails_is_not_called_done() -> None:
    out = io.StringIO()
    with (
        pytest.raises(ZeroDivisionError),
        PlainScreen(Console(file=out)) as plain,
        plain.step("batch"),
    ):
        _ = 1 / 0
    assert "failed: batch" in out.getvalue()


def test_the_live_screen_keeps_finished_steps_and_leaves_no_counters() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    with LiveScreen(console) as live:
        with live.step("start the broker"):
            live.tell("waiting for [speed]")
            live.show(observation())
        live.note("a note that stays")
    said = out.getvalue()
    assert "✓ start the broker" in said
    assert "a note that stays" in said


@pytest.mark.parametrize("kind", [LiveScreen, PlainScreen])
def test_an_address_is_printed_in_one_piece(kind: type[LiveScreen | PlainScreen]) -> None:
    out, address = io.StringIO(), f"http://127.0.0.1:8000/#key={'x' * 80}"
    with kind(Console(file=out, width=40, color_system=None)) as screen:
        screen.note(f"  watch it in a browser: {address}")
    assert address in out.getvalue()
